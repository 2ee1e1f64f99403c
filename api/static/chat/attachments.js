// The images of the message being written: pasted, dropped or picked; shown as thumbnails that can
// be removed.

import { element } from "../dom.js";
import { icon } from "./icons.js";
import { ImageProblem, MOST_IMAGES, TYPES, prepared } from "./images.js";

export class Attachments {
  /**
   * Calls `changed` when images were added or removed, `problem` with a sentence; `already()` is
   * how many were sent.
   */
  constructor({ list, input, button, dropOn }, { changed, problem, already }) {
    this.images = [];
    this._list = list;
    this._on = { changed, problem, already };
    input.accept = TYPES;
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = ""; // so that the same file can be picked again
    });
    this._listenForDrops(dropOn);
  }

  /** Add the images of a paste; whether there were any. */
  paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) this.add(files);
    return files.length > 0;
  }

  async add(files) {
    for (const file of files) {
      try {
        if (this.images.length + this._on.already() >= MOST_IMAGES) {
          throw new ImageProblem(`A conversation can hold ${MOST_IMAGES} images.`);
        }
        this._show(await prepared(file), file.name || "Pasted image");
      } catch (problem) {
        if (!(problem instanceof ImageProblem)) throw problem;
        this._on.problem(problem.message);
      }
    }
  }

  /** Remove and return all images. */
  take() {
    const images = this.images;
    this.images = [];
    this._list.replaceChildren();
    this._list.hidden = true;
    return images;
  }

  _show(image, name) {
    const url = URL.createObjectURL(image.blob);
    const picture = element("img", { src: url, alt: name });
    picture.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    const remove = element("button",
      { type: "button", class: "remove", "aria-label": `Remove ${name}` }, icon("close"));
    const row = element("li", {}, picture, remove);
    remove.addEventListener("click", () => {
      this.images = this.images.filter((other) => other !== image);
      row.remove();
      this._list.hidden = this.images.length === 0;
      this._on.changed();
    });
    this.images.push(image);
    this._list.append(row);
    this._list.hidden = false;
    this._on.changed();
  }

  _listenForDrops(target) {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    target.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      target.classList.add("dropping");
    });
    for (const name of ["dragleave", "drop"])
      target.addEventListener(name, () => target.classList.remove("dropping"));
    target.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
  }
}
