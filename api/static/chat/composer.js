// The field for a message, with the buttons that send it or stop the running answer.

import { byId } from "../dom.js";
import { Attachments } from "./attachments.js";

/** Show an error below the field; an empty text removes it. */
export function say(words) {
  byId("problem").textContent = words;
  byId("problem").hidden = words === "";
}

export class Composer {
  /** `on`: send(text, images), stop(), editLast(), already() images of the conversation. */
  constructor(on) {
    this._on = on;
    this._field = byId("message");
    this._send = byId("send");
    this._stop = byId("stop");
    this._running = false;
    this.attachments = new Attachments(
      { list: byId("attachments"), input: byId("files"), button: byId("attach"),
        dropOn: byId("main") },
      { changed: () => this._changed(), problem: (words) => this.problem(words),
        already: on.already },
    );
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this._stop.addEventListener("click", () => on.stop());
    this._field.addEventListener("input", () => this._changed());
    this._field.addEventListener("keydown", (event) => this._key(event));
    this._field.addEventListener("paste", (event) => {
      if (this.attachments.paste(event)) event.preventDefault();
    });
  }

  focus() {
    this._field.focus();
  }

  /** Whether an answer is running: the stop button is then shown in place of the send button. */
  running(is) {
    if (this._running === is) return;
    const focused = document.activeElement === (is ? this._send : this._stop);
    this._running = is;
    this._send.hidden = is;
    this._stop.hidden = !is;
    if (focused) this.focus();
    this._changed();
  }

  /** Show an error; without an argument it is removed. */
  problem(words = "") {
    say(words);
  }

  /** Put a text that could not be sent back into the field. */
  restore(text) {
    this._field.value ||= text;
    this._changed();
  }

  send() {
    const text = this._field.value.trim();
    if (this._running || (!text && this.attachments.images.length === 0)) return;
    this.problem();
    this._field.value = "";
    this._on.send(text, this.attachments.take());
    this._changed();
  }

  _changed() {
    this._send.disabled = this._field.value.trim() === "" && this.attachments.images.length === 0;
    // The field is as high as its text, up to a limit that the style sheet sets. Not by a style
    // attribute, which a strict policy forbids in HTML only: setting the property is allowed.
    this._field.style.height = "auto";
    this._field.style.height = `${this._field.scrollHeight + 2}px`;
  }

  _key(event) {
    if (event.isComposing) return; // Enter ends the composition of an input method
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && this._field.value === "") {
      event.preventDefault();
      this._on.editLast();
    }
  }
}
