// Server-Sent Events out of a response's body. EventSource can't POST and hides the status of what it connects to.

/** Lists of events, `{id, data}`, as they arrive; `heard` is called for all bytes, comments among them. */
export async function* eventsOf(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return; // what is left over was cut off: it comes again
    heard();
    const pieces = (rest + value).split("\n\n");
    rest = pieces.pop();
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
