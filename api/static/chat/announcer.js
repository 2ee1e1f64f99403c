// What a screen reader is told of an answer: that it began, then the whole of it at its end, never token by token.

const MOST = 600; // characters; who wants all of a long answer reads it in its place

export class Announcer {
  constructor(region) {
    this._region = region;
    this._told = new Map(); // answer id to what was said last
  }

  /** An answer has changed. */
  changed(answer, status) {
    const words = answer.state === "running" ? (answer.text ? "Answering." : sentence(status)) : ended(answer);
    if (this._told.get(answer.id) === words) return;
    this._told.set(answer.id, words);
    this._region.textContent = words;
  }
}

// A countdown would be read out each second.
const sentence = (status) => status.replace(/ Trying again in \d+ s$/, "").replace(/, \d+ %$/, "");

function ended({ text, error, finish }) {
  if (error) return error.words;
  const plain = text.replace(/[*_`#>|~]/g, "");
  const shown = plain.length > MOST ? `${plain.slice(0, MOST)} … The answer goes on.` : plain;
  return finish === "cancelled" ? `Stopped. ${shown}` : `Answer: ${shown}`;
}
