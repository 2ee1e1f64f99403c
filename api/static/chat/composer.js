// The field for a message, with the buttons that send it or stop the running answer, and the
// notices above it. What was begun and not sent stays with its conversation, and so do notices.

import { byId } from "../dom.js";
import { Attachments } from "./attachments.js";

let general = ""; // what concerns the whole page
let own = ""; // what concerns the open conversation

function showNotice() {
  const words = general || own;
  if (byId("problem").textContent !== words) byId("problem").textContent = words;
  byId("problem").hidden = words === "";
}

/** Show an error that concerns the whole page; an empty text removes it. */
export function say(words = "") {
  general = words;
  showNotice();
}

export class Composer {
  /**
   * `on`: send(text, {images, files}), stop(), editLast(), already() images of the conversation;
   * `drafts` keeps what was begun.
   */
  constructor(drafts, on) {
    this._drafts = drafts;
    this._on = on;
    this._field = byId("message");
    this._send = byId("send");
    this._stop = byId("stop");
    this._running = false;
    this._open = null; // the id of the conversation
    this._notices = new Map(); // by the id of a conversation
    this.attachments = new Attachments(
      { list: byId("attachments"), input: byId("files"), button: byId("attach"),
        dropOn: byId("main") },
      { changed: () => this._changed(), place: () => this._open,
        elsewhere: (id, attached) => this._keep(id, attached),
        problem: (words, id) => this.problem(words, id), already: on.already },
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

  /** Show what was begun in a conversation, and its notice. */
  open(id) {
    this._open = id;
    const { text, attached } = this._drafts.of(id);
    this._field.value = text;
    this.attachments.show(attached);
    own = this._notices.get(id) ?? "";
    showNotice();
  }

  /** A conversation that had not begun has this id now. */
  begun(id) {
    this._open = id;
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

  /** Show an error of a conversation, the open one by default; without words it is removed. */
  problem(words = "", id = this._open) {
    this._notices.set(id, words);
    own = this._notices.get(this._open) ?? "";
    showNotice();
  }

  /** Put back what could not be sent. */
  restore(text, { all }) {
    this._field.value ||= text;
    this.attachments.show([...all, ...this.attachments.all]);
  }

  /** Keep what was read for a conversation that is open no more with its draft. */
  _keep(id, attached) {
    const draft = this._drafts.of(id);
    this._drafts.set(id, { ...draft, attached: [...draft.attached, attached] });
  }

  get _sendable() {
    const { all, reading } = this.attachments;
    return !reading.length && (this._field.value.trim() !== "" || all.length > 0);
  }

  send() {
    const text = this._field.value.trim();
    if (this._running || !this._sendable) return;
    this.problem();
    this._field.value = "";
    this._on.send(text, this.attachments.take());
    this._changed();
  }

  _changed() {
    this._send.disabled = !this._sendable;
    this._drafts.set(this._open, { text: this._field.value, attached: this.attachments.all });
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
