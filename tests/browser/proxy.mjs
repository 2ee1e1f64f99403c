// A proxy between the page and the service: records when the first text of a stream passed, or answers chats itself.
// Everything else is forwarded.

import { createServer, request } from "node:http";

/** `script`: an async iterator of frames that takes the service's place for chats, or null. */
export async function proxy(service, script = null) {
  const seen = { firstTextAt: null };
  const server = createServer((incoming, outgoing) => {
    if (script && incoming.method === "POST" && incoming.url === "/api/engine/chat") return play(script(), outgoing);
    // With the Host that the page used, or its Origin would be a foreign one to the service.
    const onward = request(service + incoming.url, { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (chunk) => {
        if (incoming.method === "POST" && /"text": ?"[^"]/.test(chunk)) seen.firstTextAt ??= Date.now();
      });
      answer.pipe(outgoing);
    });
    onward.on("error", () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, seen, close };
}

async function play(frames, outgoing) {
  outgoing.writeHead(200, { "Content-Type": "text/event-stream", "X-Job-Id": "a".repeat(32) });
  outgoing.write(": queued\n\n");
  let id = 0;
  for await (const frame of frames) outgoing.write(`id: ${(id += 1)}\ndata: ${JSON.stringify(frame)}\n\n`);
  outgoing.end();
}
