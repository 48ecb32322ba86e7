"""What the environments above execution share: data, batching, PettingZoo's faces."""
