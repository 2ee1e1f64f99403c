// A code block: its language, a copy button, its highlighted lines. It grows without being rebuilt.

import { element } from "../dom.js";
import { familyOf, highlightLine } from "./highlight.js";

/** The element of one block of code. */
export class CodeBlock {
  constructor({ language, text }) {
    this.language = language;
    this._known = familyOf(language);
    this._code = element("code");
    this._open = null; // the comment or string that is open after the finished lines
    this._finished = 0; // characters of the text in finished lines
    this._last = []; // the nodes of the line that still grows
    this._copy =
      element("button", { type: "button", class: "copy", "aria-label": "Copy code" }, "Copy");
    this._copy.addEventListener("click", () => this._copyText());
    const label = element("figcaption", {}, element("span", {}, language || "text"), this._copy);
    // Wide code scrolls in its own box, so the box must be reachable by keyboard.
    const lines = element("pre",
      { tabindex: "0", role: "region", "aria-label": `Code, ${language || "text"}` }, this._code);
    this.element = element("figure", { class: "code" }, label, lines);
    this.text = "";
    this.grow(text);
  }

  /** Show a longer text; false if it does not begin with the text that is shown. */
  grow(text) {
    if (!text.startsWith(this.text)) return false;
    this.text = text;
    for (const node of this._last) node.remove();
    const end = text.lastIndexOf("\n") + 1;
    if (end > this._finished) {
      for (const line of text.slice(this._finished, end - 1).split("\n"))
        this._open = this._line(line, "\n");
      this._finished = end;
    }
    const before = this._code.childNodes.length;
    this._line(text.slice(end), "");
    this._last = [...this._code.childNodes].slice(before);
    return true;
  }

  _line(line, end) {
    const { tokens, open } = highlightLine(line, this._known, this._open);
    for (const [kind, text] of tokens) {
      this._code.append(kind ? element("span", { class: `t-${kind}` }, text) : text);
    }
    if (end) this._code.append(end);
    return open;
  }

  async _copyText() {
    const { copy } = await import("../clipboard.js");
    this._copy.textContent = (await copy(this.text)) ? "Copied" : "Not allowed";
    setTimeout(() => { this._copy.textContent = "Copy"; }, 1500);
  }
}
