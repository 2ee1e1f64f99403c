// Renders Markdown that grows: only the part that may still change is parsed and built again.

import { parseBlocks } from "./blocks.js";
import { GrowingChildren } from "./build.js";

/** Shows a growing text in an element. */
export class MarkdownAnswer {
  constructor(holder) {
    this._holder = holder;
    this._clear();
  }

  _clear() {
    this._holder.replaceChildren();
    this._blocks = new GrowingChildren(this._holder);
    this._settled = 0; // characters of the text in finished blocks
    this._text = "";
  }

  /** Show the whole text; usually it continues the text shown before. */
  show(text) {
    if (!text.startsWith(this._text)) this._clear();
    this._text = text;
    const lines = text.slice(this._settled).replaceAll("\r", "").replaceAll("\0", "\ufffd")
      .split("\n");
    const blocks = parseBlocks(lines);
    this._blocks.show(blocks);
    this._settle(blocks, lines);
  }

  // A block is finished once another has begun with two whole lines: the second may still make a
  // table of the first.
  _settle(blocks, lines) {
    const open = blocks.findLastIndex((block) => block.first + 2 < lines.length);
    if (open <= 0) return;
    this._settled += lines.slice(0, blocks[open].first)
      .reduce((sum, line) => sum + line.length + 1, 0);
    this._blocks.settle(open);
  }
}
