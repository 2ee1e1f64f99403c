// The images, text files and PDFs of the message being written: pasted, dropped or picked; each can
// be removed.

import { element } from "../dom.js";
import { FileProblem, isImage, sizeWords, textOf } from "./files.js";
import { icon } from "./icons.js";
import { ImageProblem, MOST_IMAGES, prepared } from "./images.js";

export class Attachments {
  /**
   * `on`: changed(), when something was added or removed; place(), the conversation that is open;
   * elsewhere(place, attached), when a file was read for one that is open no more; problem(words,
   * place); already(), how many images were sent.
   */
  constructor({ list, input, button, dropOn }, on) {
    this.all = []; // {image, name} or {file}
    this._reading = []; // {name, place}
    this._list = list;
    this._on = on;
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = ""; // so that the same file can be picked again
    });
    this._listenForDrops(dropOn);
  }

  get images() { return this.all.flatMap(({ image }) => image ?? []); }
  get files() { return this.all.flatMap(({ file }) => file ?? []); }

  /** The files that are being read for the open conversation. */
  get reading() { return this._reading.filter(({ place }) => place === this._on.place()); }

  /** Add the files of a paste; whether there were any. */
  paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) this.add(files);
    return files.length > 0;
  }

  /** Read files and add them to the conversation that is open now, one after another. */
  async add(files) {
    const place = this._on.place();
    for (const file of files) await this._add(file, place);
  }

  async _add(file, place) {
    const reading = { name: file.name || "a file", place };
    this._reading.push(reading);
    this.show(this.all);
    let attached = null;
    try {
      attached = isImage(file) ? await this._image(file)
        : { file: await textOf(file, () => this.files) };
    } catch (problem) {
      if (!(problem instanceof ImageProblem || problem instanceof FileProblem)) throw problem;
      this._on.problem(problem.message, place);
    } finally {
      this._reading.splice(this._reading.indexOf(reading), 1);
      const here = place === this._on.place();
      this.show(attached && here ? [...this.all, attached] : this.all);
      if (attached && !here) this._on.elsewhere(place, attached);
    }
  }

  async _image(file) {
    if (this.images.length + this._on.already() >= MOST_IMAGES)
      throw new ImageProblem(`A conversation can hold ${MOST_IMAGES} images.`);
    return { image: await prepared(file), name: file.name || "Pasted image" };
  }

  /** Remove everything, and return it: as it was shown, and as what a message holds. */
  take() {
    const { all, images, files } = this;
    this.show([]);
    return { all, images, files };
  }

  /** Show these in place of what is shown. */
  show(all) {
    this.all = all;
    const { reading } = this;
    this._list.replaceChildren(
      ...all.map((attached) => this._row(attached)), ...reading.map(beingRead));
    this._list.hidden = all.length + reading.length === 0;
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

const beingRead = ({ name }) => element("li", {},
  element("span", { class: "file-name" }, icon("file"), element("span", {}, `Reading ${name}…`)));

const fileChip = ({ name, text }) => element("span", { class: "file-name" }, icon("file"),
  element("span", {}, name), element("small", {}, sizeWords(new Blob([text]).size)));
