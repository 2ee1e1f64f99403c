// The list of conversations: search, open, pin, rename, delete with undo. On a narrow page it
// slides over the chat.

import { byId, element } from "../dom.js";
import { icon } from "./icons.js";
import { groups, matches, whenWords } from "./library.js";
import { offer } from "./toasts.js";

export class Sidebar {
  constructor(chats, { opened, fresh }) {
    this._chats = chats;
    this._opened = opened;
    this._side = byId("side");
    this._menu = byId("menu");
    this._menu.addEventListener("click", () => this.toggle());
    byId("main").addEventListener("click", () => this.close());
    byId("new").addEventListener("click", () => {
      this.close();
      fresh();
    });
    this._search = byId("search");
    this._search.addEventListener("input", () => this._show());
    this._search.addEventListener("keydown", (event) => this._searchKey(event));
    chats.addEventListener("list", () => this._show());
  }

  toggle() {
    const open = document.body.classList.toggle("side-open");
    this._menu.setAttribute("aria-expanded", String(open));
    if (open) byId("new").focus();
  }

  /** Whether it was open over the page. */
  close() {
    const was = document.body.classList.contains("side-open");
    if (was) this.toggle();
    return was;
  }

  /** Go to the search field, which is in the list. */
  search() {
    if (matchMedia("(max-width: 48rem)").matches &&
      !document.body.classList.contains("side-open")) this.toggle();
    this._search.focus();
  }

  _searchKey(event) {
    if (event.key === "Escape" && this._search.value !== "") {
      this._search.value = "";
      this._show();
    } else if (event.key === "ArrowDown") {
      byId("conversations").querySelector(".open")?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  _show() {
    const row = document.activeElement?.closest?.("#conversations li");
    const focused = row && [row.dataset.id, document.activeElement.className];
    const all = this._chats.list(), query = this._search.value.trim();
    const found = all.filter((one) => matches(one, query));
    byId("conversations").replaceChildren(
      ...groups(found).map(([name, some]) => this._group(name, some)));
    byId("found").textContent = query === "" ? "" : found.length === 0
      ? "No conversation has these words." : `${found.length} of ${all.length} conversations`;
    byId("search-field").hidden = all.length === 0;
    if (focused) this._focus(...focused);
  }

  _focus(id, className) {
    const buttons = [...byId("conversations").querySelectorAll(`[data-id="${id}"] button`)];
    (buttons.find((button) => button.className === className) ?? buttons[0])?.focus();
  }

  _group(name, conversations) {
    return element("section", { "aria-label": name }, element("h2", {}, name),
      element("ul", {}, ...conversations.map((one) => this._row(one))));
  }

  _row(conversation) {
    const { id, title, pinned } = conversation;
    const busy = this._chats.running(conversation)
      ? element("span", { class: "busy", role: "img", "aria-label": "answering" }) : null;
    const current = this._chats.open === conversation ? "page" : null;
    const open =
      element("button", { type: "button", class: "open", "aria-current": current,
          title: `${title}\n${whenWords(conversation)}` },
        element("span", {}, title), busy);
    const pin = element("button", { type: "button", class: "icon-button pin",
      "aria-pressed": String(Boolean(pinned)), "aria-label": `Pin ${title}` }, icon("pin"));
    pin.addEventListener("click", () => this._chats.pin(id, !pinned));
    const rename = element("button",
      { type: "button", class: "icon-button", "aria-label": `Rename ${title}` }, icon("pencil"));
    const remove = element("button",
      { type: "button", class: "icon-button", "aria-label": `Delete ${title}` }, icon("trash"));
    const row = element("li", { "data-id": id }, open, pin, rename, remove);
    open.addEventListener("click", () => {
      this.close();
      this._opened(id);
    });
    rename.addEventListener("click", () => this._rename(row, conversation));
    remove.addEventListener("click", () => {
      const undo = this._chats.delete(id); // it is gone from the list, and so is this button
      offer(`“${title}” was deleted.`, "Undo", undo, () => this._chats.forget(conversation));
      byId("new").focus();
    });
    return row;
  }

  _rename(row, { id, title }) {
    const field = element("input",
      { type: "text", "aria-label": "Name of the conversation", maxlength: "200" });
    field.value = title;
    let over = false;
    const finish = (keep) => {
      if (over) return;
      over = true;
      if (keep) this._chats.rename(id, field.value);
      this._show();
      byId("conversations").querySelector(`[data-id="${id}"] .open`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      finish(event.key === "Enter");
    });
    field.addEventListener("blur", () => finish(true));
    row.replaceChildren(field);
    field.select();
  }
}
