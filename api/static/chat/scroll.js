// Keeps the newest text in view while it comes, until the reader scrolls up; goes on when they come back to the end.

const NEAR = 48; // pixels

export class StayAtEnd {
  constructor(scroller, button) {
    this._scroller = scroller;
    this._button = button;
    this._held = true;
    this._before = 0;
    scroller.addEventListener("scroll", () => this._scrolled(), { passive: true });
    button.addEventListener("click", () => this.toEnd());
  }

  /** Something has been added. */
  keep() {
    if (this._held) this._scroller.scrollTop = this._scroller.scrollHeight;
    else this._button.hidden = false;
  }

  toEnd() {
    this._held = true;
    this._button.hidden = true;
    this.keep();
  }

  _scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this._scroller;
    const left = scrollHeight - clientHeight - scrollTop;
    if (left < NEAR) this._held = true;
    else if (scrollTop < this._before) this._held = false; // text that comes never scrolls up by itself
    this._before = scrollTop;
    this._button.hidden = this._held || left < NEAR;
  }
}
