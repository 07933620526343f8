"""A provider that answers with bytes that are ready, as the source text of a process of its own.

Its argument is the port, a free one without; the port is the first line that it prints.
"""

CHUNKS = 400
"""Events of a streamed answer."""

SOURCE = f"""
import asyncio, json, sys

def chunk(text, finish=None):
    delta = {{"content": text}} if text else {{}}
    choice = {{"index": 0, "delta": delta, "finish_reason": finish}}
    return {{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice]}}

def answer(kind, body):
    head = "HTTP/1.1 200 OK\\r\\nContent-Type: %s\\r\\n" % kind
    head += "x-request-id: req_%s\\r\\n" % ("7c" * 16)
    return (head + "Content-Length: %d\\r\\n\\r\\n" % len(body)).encode() + body

message = {{"role": "assistant", "content": "word " * 200}}
usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
WHOLE = answer("application/json", json.dumps({{
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage,
    "choices": [{{"index": 0, "message": message, "finish_reason": "stop"}}]}}).encode())
EVENTS = ["data: " + json.dumps(chunk("word ")) + "\\n\\n"] * {CHUNKS}
EVENTS += ["data: " + json.dumps(chunk("", "stop")) + "\\n\\n", "data: [DONE]\\n\\n"]
STREAM = [b"%x\\r\\n%s\\r\\n" % (len(one), one) for one in (text.encode() for text in EVENTS)]
STREAM_HEAD = (b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n"
               b"Transfer-Encoding: chunked\\r\\n\\r\\n")

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            body = await reader.readexactly(length)
            if b'"stream":true' not in body.replace(b" ", b""):
                writer.write(WHOLE)
                continue
            writer.write(STREAM_HEAD)
            for piece in STREAM:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\\r\\n\\r\\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 0

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""
