// Which dollar signs of a text are marks of formulas: `$x$` and `$$x$$` are, prices are not.

/** The formulas between dollar signs in one text. */
export class Dollars {
  constructor(text) {
    this._text = text;
    this._closing = { 1: null, 2: null }; // where formulas may end, the next one last
  }

  /** The formula that begins with a dollar sign: `{from, to, end, display}`, or null. */
  formulaAt(at) {
    const width = this._text[at + 1] === "$" ? 2 : 1;
    if (width === 1 && !this._opens(at)) return null;
    const to = this._next(width, at + width);
    return to === undefined ? null
      : { from: at + width, to, end: to + width, display: width === 2 };
  }

  /** As in Pandoc: not before a blank. And not behind a letter or digit, as in US$5. */
  _opens(at) {
    return !/[\p{L}\p{N}\\]/u.test(this._text[at - 1] ?? "") &&
      !/\s/.test(this._text[at + 1] ?? " ");
  }

  _next(width, from) {
    const ends = (this._closing[width] ??= this._ends(width).reverse());
    while (ends.length && ends.at(-1) < from) ends.pop();
    return ends.at(-1) === from ? undefined : ends.at(-1);
  }

  /** Single ones end behind no blank and before no digit: in "$5 and $6" there is no formula. */
  _ends(width) {
    const pattern = width === 2 ? /(?<!\\)\$\$/g : /(?<![\s\\$])\$(?![\d$])/g;
    return [...this._text.matchAll(pattern)].map(({ index }) => index);
  }
}
