// What a screen reader announces: that an answer has begun, then the whole answer at its end, never
// single tokens.

const MOST = 600; // characters; a longer answer is read in the message itself

export class Announcer {
  constructor(region) {
    this._region = region;
    this._last = new Map(); // answer id to its last announcement
  }

  /** An answer has changed. */
  changed(answer, status) {
    const words = answer.state === "running" ? underWay(answer, status) : ended(answer);
    if (this._last.get(answer.id) === words) return;
    this._last.set(answer.id, words);
    this._region.textContent = words;
  }
}

function underWay({ text, reasoning }, status) {
  if (text) return "Answering.";
  return reasoning && !status ? "Thinking." : sentence(status);
}

// A countdown would be read out each second.
const sentence = (status) => status.replace(/ Trying again in \d+ s$/, "").replace(/, \d+ %$/, "");

function ended({ text, error, finish }) {
  if (error) return error.words;
  const plain = text.replace(/[*_`#>|~]/g, "");
  const shown = plain.length > MOST ? `${plain.slice(0, MOST)} … The answer continues.` : plain;
  return finish === "cancelled" ? `Stopped. ${shown}` : `Answer: ${shown}`;
}
