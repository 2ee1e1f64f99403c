// The messages of the open conversation. Answers are drawn at most once a frame, however fast text
// arrives.

import { AnswerMessage, UserMessage } from "./message.js";
import { StayAtEnd } from "./scroll.js";

export class Thread {
  constructor({ list, scroller, toEnd, empty }, on) {
    this._list = list;
    this._empty = empty;
    this._on = { ...on, grown: () => this._scroll.keep() };
    this._scroll = new StayAtEnd(scroller, toEnd);
    list.addEventListener("drawn", () => this._scroll.keep()); // mathematics, once it is loaded
    this._shown = new Map(); // by message id
    this._dirty = new Set();
    this._frame = 0;
    this._running = false;
  }

  /**
   * Show messages; those that are already shown keep their elements. `versionsOf(message)` are all
   * versions of one; with `stay` the reader stays at the place where they are.
   */
  open(messages, { versionsOf, stay = false }) {
    const before = this._shown;
    this._shown = new Map(messages.map(
      (message) => [message.id, before.get(message.id) ?? this._view(message)]));
    this._list.replaceChildren(...[...this._shown.values()].map((shown) => shown.element));
    this._empty.hidden = messages.length > 0;
    for (const message of messages) {
      const all = versionsOf(message), shown = this._shown.get(message.id);
      shown.versions.show(all.indexOf(message), all.length);
      shown.running(this._on.busy());
    }
    this._running = this._on.busy();
    if (!stay) this._scroll.toEnd();
  }

  /** Whether an answer of the conversation is running: what asks for another one waits then. */
  running(is) {
    if (this._running === is) return;
    this._running = is;
    for (const shown of this._shown.values()) shown.running(is);
  }

  /** Focus the button that has shown this version. */
  focusVersion({ id }, step) {
    this._shown.get(id)?.versions.focus(step);
  }

  _view(message) {
    return message.role === "user" ? new UserMessage(message, this._on)
      : new AnswerMessage(message, this._on);
  }

  /** An answer has changed. */
  changed(answer) {
    this._dirty.add(answer.id);
    this._frame ||= requestAnimationFrame(() => this._draw());
  }

  _draw() {
    this._frame = 0;
    for (const id of this._dirty) this._shown.get(id)?.show();
    this._dirty.clear();
    this._scroll.keep();
  }

  /** Names of models have become known. */
  named() {
    for (const shown of this._shown.values())
      if (shown instanceof AnswerMessage) shown.named();
  }

  /** Let the reader edit their last message. */
  editLast() {
    [...this._shown.values()].findLast((shown) => shown instanceof UserMessage)?.edit();
  }
}
