// The versions of a message: which one is shown, and the way to the others.

import { element } from "../dom.js";
import { icon } from "./icons.js";

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
    this.element.hidden = true;
  }

  /** The shown one is number `at` of so many, counted from 0. */
  show(at, of) {
    this.element.hidden = of < 2;
    this._count.textContent = `${at + 1}/${of}`;
    const [back, next] = this._steps;
    back.disabled = at === 0;
    next.disabled = at === of - 1;
  }

  /** Focus the button of a step, or the other one at the end. */
  focus(step) {
    const [back, next] = this._steps;
    const [wanted, other] = step < 0 ? [back, next] : [next, back];
    (wanted.disabled ? other : wanted).focus();
  }
}
