// The list of conversations: open, rename, delete with undo. On a narrow page it slides over the
// chat.

import { byId, element } from "../dom.js";
import { icon } from "./icons.js";
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

  _show() {
    const focused = document.activeElement?.closest?.("#conversations li")?.dataset.id;
    byId("conversations").replaceChildren(...this._chats.list().map((one) => this._row(one)));
    if (focused) byId("conversations").querySelector(`[data-id="${focused}"] .open`)?.focus();
  }

  _row(conversation) {
    const { id, title } = conversation;
    const busy = this._chats.running(conversation)
      ? element("span", { class: "busy", role: "img", "aria-label": "answering" }) : null;
    const current = this._chats.open === conversation ? "page" : null;
    const open =
      element("button", { type: "button", class: "open", "aria-current": current, title },
        element("span", {}, title), busy);
    const rename = element("button",
      { type: "button", class: "icon-button", "aria-label": `Rename ${title}` }, icon("pencil"));
    const remove = element("button",
      { type: "button", class: "icon-button", "aria-label": `Delete ${title}` }, icon("trash"));
    const row = element("li", { "data-id": id }, open, rename, remove);
    open.addEventListener("click", () => {
      this.close();
      this._opened(id);
    });
    rename.addEventListener("click", () => this._rename(row, conversation));
    remove.addEventListener("click", () => {
      const undo = this._chats.delete(id);
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
