// Parses Server-Sent Events from a response's body. EventSource can't POST and hides the response's
// status.

/**
 * Lists of events, `{id, data}`, as they arrive; `received` is called for all bytes, including
 * comments.
 */
export async function* eventsOf(body, received) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return; // an incomplete event is sent again after the reconnect
    received();
    const pieces = (buffer + value).split("\n\n");
    buffer = pieces.pop();
    const events = pieces.map(eventOf).filter((event) => event.data !== null);
    if (events.length) yield events;
  }
}

function eventOf(text) {
  const event = { id: null, data: null };
  for (const line of text.split("\n")) {
    if (line.startsWith("id: ")) event.id = Number(line.slice(4));
    else if (line.startsWith("data: ")) event.data = line.slice(6);
  }
  return event;
}
