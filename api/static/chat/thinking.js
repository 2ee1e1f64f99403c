// A model's thinking above its answer, folded away. It is drawn only while it is unfolded.

import { element } from "../dom.js";
import { MarkdownAnswer } from "../markdown/answer.js";
import { thoughtWords } from "./words.js";

export class Thinking {
  constructor() {
    this._summary = element("summary");
    this._markdown = null;
    this._reasoning = "";
    this.element = element("details", { class: "thinking" }, this._summary);
    this.element.hidden = true;
    this.element.addEventListener("toggle", () => this._draw());
  }

  /** Show the thinking of an answer as it is now. */
  show({ reasoning, text, state, thoughtMs }) {
    this.element.hidden = !reasoning;
    const isThinking = state === "running" && text === "";
    const words = isThinking ? "Thinking…" : thoughtWords(thoughtMs);
    if (this._summary.textContent !== words) this._summary.textContent = words;
    this.element.classList.toggle("at-it", isThinking);
    this._reasoning = reasoning;
    this._draw();
  }

  _draw() {
    if (!this.element.open) return;
    this._markdown ??= new MarkdownAnswer(this.element.appendChild(
      element("div", { class: "text" })));
    this._markdown.show(this._reasoning);
  }
}
