"""Every layer retrained fold by fold on the sample of real bars."""
