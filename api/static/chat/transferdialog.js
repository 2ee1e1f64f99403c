// The dialog that exports and imports conversations.

import { byId } from "../dom.js";
import { TransferProblem, asJson, asMarkdown, download, fileName, fromJson } from "./transfer.js";

const MOST_BYTES = 500_000_000;

export class TransferDialog {
  /** `modelName(id)` is a model's name, or an empty text. */
  constructor(chats, modelName) {
    this._chats = chats;
    this._modelName = modelName;
    this._dialog = byId("transfer");
    this._said = byId("transfer-said");
    byId("open-transfer").addEventListener("click", () => this.open());
    byId("export-json").addEventListener("click", () => this._json([chats.open], chats.open.title));
    byId("export-markdown").addEventListener("click", () => this._markdown());
    byId("export-all").addEventListener("click", () => this._json(chats.list(), "conversations"));
    byId("import").addEventListener("click", () => byId("import-file").click());
    byId("import-file").addEventListener("change", () => this._import());
    this._dialog.querySelector("[data-close]").addEventListener("click",
      () => this._dialog.close());
  }

  open() {
    this._say("", false);
    byId("export-one").hidden = this._chats.open === null;
    byId("export-all").disabled = this._chats.list().length === 0;
    this._dialog.showModal();
  }

  _say(words, isError) {
    this._said.textContent = words;
    this._said.hidden = words === "";
    this._said.classList.toggle("error", isError);
  }

  async _json(conversations, title) {
    const text = await asJson(conversations, (id) => this._chats.dataUrl(id));
    download(fileName(title, "json"), "application/json", text);
  }

  _markdown() {
    const { open } = this._chats;
    download(fileName(open.title, "md"), "text/markdown", asMarkdown(open, this._modelName));
  }

  async _import() {
    const input = byId("import-file"), [file] = input.files;
    input.value = ""; // so that the same file can be picked again
    if (!file) return;
    this._say("", false);
    try {
      if (file.size > MOST_BYTES) throw new TransferProblem("This file is too large.");
      const ids = new Set(this._chats.list().map(({ id }) => id));
      const { conversations, images } = await fromJson(await file.text(), (id) => ids.has(id));
      await this._chats.adopt(conversations, images);
      const { length } = conversations;
      this._say(length === 1 ? "1 conversation was imported."
        : `${length} conversations were imported.`, false);
    } catch (problem) {
      const known = problem instanceof TransferProblem;
      this._say(known ? problem.message : "The browser has no room for these conversations.", true);
    }
  }
}
