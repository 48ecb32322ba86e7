"""What the service is measured beside: starlette on uvicorn, as bare as they come.

`python -m experiments.bench.serve_hello` prints its port, and answers POST /decide with a
constant, over the same loop and parser.
"""

from __future__ import annotations

import asyncio
import gc
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_ANSWER = b'{"kind": "hot", "hello": "world"}'


async def _hello(request: Request) -> Response:
    await request.body()
    return Response(_ANSWER, media_type="application/json")


def main() -> None:
    """Serve until a signal comes."""
    app = Starlette(routes=[Route("/decide", _hello, methods=["POST"])])
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", lifespan="off", access_log=False, log_level="warning"
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        print(listening.getsockname()[1], flush=True)
        gc.freeze()
        gc.disable()
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
