// The images and text files of the message being written: pasted, dropped or picked; each can be
// removed.

import { element } from "../dom.js";
import { FileProblem, isImage, sizeWords, textOf } from "./files.js";
import { icon } from "./icons.js";
import { ImageProblem, MOST_IMAGES, prepared } from "./images.js";

export class Attachments {
  /**
   * Calls `changed` when something was added or removed, `problem` with a sentence; `already()` is
   * how many images were sent.
   */
  constructor({ list, input, button, dropOn }, { changed, problem, already }) {
    this.all = []; // {image, name} or {file}
    this._list = list;
    this._on = { changed, problem, already };
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = ""; // so that the same file can be picked again
    });
    this._listenForDrops(dropOn);
  }

  get images() { return this.all.flatMap(({ image }) => image ?? []); }
  get files() { return this.all.flatMap(({ file }) => file ?? []); }

  /** Add the files of a paste; whether there were any. */
  paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) this.add(files);
    return files.length > 0;
  }

  async add(files) {
    for (const file of files) {
      try {
        const attached = isImage(file) ? await this._image(file)
          : { file: await textOf(file, this.files) };
        this.show([...this.all, attached]);
      } catch (problem) {
        if (!(problem instanceof ImageProblem || problem instanceof FileProblem)) throw problem;
        this._on.problem(problem.message);
      }
    }
  }

  async _image(file) {
    if (this.images.length + this._on.already() >= MOST_IMAGES)
      throw new ImageProblem(`A conversation can hold ${MOST_IMAGES} images.`);
    return { image: await prepared(file), name: file.name || "Pasted image" };
  }

  /** Remove everything, and return it as what a message holds. */
  take() {
    const { images, files } = this;
    this.show([]);
    return { images, files };
  }

  /** Show these in place of what is shown. */
  show(all) {
    this.all = all;
    this._list.replaceChildren(...all.map((attached) => this._row(attached)));
    this._list.hidden = all.length === 0;
    this._on.changed();
  }

  _row(attached) {
    const name = attached.name ?? attached.file.name;
    const remove = element("button",
      { type: "button", class: "remove", "aria-label": `Remove ${name}` }, icon("close"));
    remove.addEventListener("click", () => this.show(this.all.filter((one) => one !== attached)));
    return element("li", {},
      attached.image ? thumbnail(attached.image, name) : fileChip(attached.file), remove);
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

function thumbnail({ blob }, name) {
  const url = URL.createObjectURL(blob);
  const picture = element("img", { src: url, alt: name });
  picture.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
  return picture;
}

const fileChip = ({ name, text }) => element("span", { class: "file-name" }, icon("file"),
  element("span", {}, name), element("small", {}, sizeWords(new Blob([text]).size)));
