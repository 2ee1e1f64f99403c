// A table whose rows stay the same elements as long as what they show does: a button keeps its focus while numbers change.

import { element } from "../dom.js";

export class Table {
  /**
   * Columns are {title, cell, number, side}: `cell` makes text or an element from an item, or from an item and what the
   * cell held before. `side` columns are left out on phones.
   */
  constructor(place, columns, empty, key) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = element("tbody");
    this.empty = element("p", { class: "empty" }, empty);
    this.table = element("table", { class: "table", hidden: true },
      element("thead", {}, element("tr", {}, ...columns.map((column) =>
        element("th", { scope: "col", class: classes(column) }, column.title)))),
      this.body);
    place.replaceChildren(this.table, this.empty);
  }

  show(items) {
    this.table.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    const keep = new Set(items.map(this.key));
    for (const [name, row] of this.rows) {
      if (keep.has(name)) continue;
      row.remove();
      this.rows.delete(name);
    }
    let before = null;
    for (const item of items) {
      const row = this.row(item);
      const place = before === null ? this.body.firstChild : before.nextSibling;
      if (place !== row) this.body.insertBefore(row, place);
      before = row;
    }
  }

  row(item) {
    const name = this.key(item);
    let row = this.rows.get(name);
    if (!row) {
      row = element("tr", {}, ...this.columns.map((column) => element("td", { class: classes(column) })));
      this.rows.set(name, row);
    }
    this.columns.forEach((column, place) => {
      const cell = row.children[place];
      const made = column.cell(item, cell.firstElementChild);
      if (made instanceof Node) {
        if (cell.firstChild !== made) cell.replaceChildren(made);
      } else if (cell.textContent !== made) {
        cell.textContent = made;
      }
    });
    return row;
  }
}

function classes(column) {
  return [column.number && "number", column.side && "side"].filter(Boolean).join(" ") || null;
}
