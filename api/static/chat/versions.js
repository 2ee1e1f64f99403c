// The versions of a message: which one is shown, and the way to the others.

import { element } from "../dom.js";
import { icon } from "./icons.js";

/** Why a button that asks for an answer, or turns to another one, can't be used. */
export const WAIT = "Not while an answer is running: wait for its end, or stop it";

export class Versions {
  /** `turn(step)` is asked to show the version before (-1) or behind (1) the shown one. */
  constructor(turn) {
    this._count = element("span");
    this._steps = [["back", "Version before", -1], ["next", "Next version", 1]].map(
      ([name, label, step]) => {
        const button = element("button",
          { type: "button", class: "icon-button", "aria-label": label, title: label }, icon(name));
        button.addEventListener("click", () => turn(step));
        return button;
      });
    const [back, next] = this._steps;
    this.element = element("div", { class: "versions", role: "group", "aria-label": "Versions" },
      back, this._count, next);
    this._at = 0;
    this._of = 1;
    this._running = false;
    this._draw();
  }

  /** The shown one is number `at` of so many, counted from 0. */
  show(at, of) {
    this._at = at;
    this._of = of;
    this._draw();
  }

  /** Whether an answer of the conversation is running: nothing can be turned to then. */
  running(is) {
    this._running = is;
    this._draw();
  }

  _draw() {
    this.element.hidden = this._of < 2;
    this._count.textContent = `${this._at + 1}/${this._of}`;
    const [back, next] = this._steps;
    back.disabled = this._running || this._at === 0;
    next.disabled = this._running || this._at === this._of - 1;
    for (const button of this._steps)
      button.title = this._running ? WAIT : button.getAttribute("aria-label");
  }

  /** Focus the button of a step, or the other one at the end. */
  focus(step) {
    const [back, next] = this._steps;
    const [wanted, other] = step < 0 ? [back, next] : [next, back];
    (wanted.disabled ? other : wanted).focus();
  }
}
