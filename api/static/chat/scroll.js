// Keeps the end in view while text arrives, until the reader scrolls up; resumes when they scroll
// back to the end.

const AT = 2, NEAR = 48; // pixels

export class StayAtEnd {
  constructor(scroller, button) {
    this._scroller = scroller;
    this._button = button;
    this._atEnd = true;
    this._before = 0;
    scroller.addEventListener("scroll", () => this._scrolled(), { passive: true });
    button.addEventListener("click", () => this.toEnd());
  }

  /** Call after content was added. */
  keep() {
    if (this._atEnd) this._scroller.scrollTop = this._scroller.scrollHeight;
    else this._button.hidden = false;
  }

  toEnd() {
    this._atEnd = true;
    this._button.hidden = true;
    this.keep();
  }

  _scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this._scroller;
    const below = scrollHeight - clientHeight - scrollTop;
    // Arriving text never scrolls up, and a touchpad does so by a few pixels at a time. At the end
    // the browser may: when a part gets shorter.
    const up = scrollTop < this._before;
    this._atEnd = below < AT || !up && (this._atEnd || below < NEAR);
    this._before = scrollTop;
    this._button.hidden = this._atEnd || below < NEAR;
  }
}
