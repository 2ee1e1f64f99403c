// Schemas as tables of fields: type, default, range. A nested schema is built when its details
// element is opened, so that a schema that contains itself ends.

import { element } from "../dom.js";

const PREFIX = "#/components/schemas/";
const LIMITS =
  [["minimum", "≥ "], ["exclusiveMinimum", "> "], ["maximum", "≤ "], ["exclusiveMaximum", "< "]];
const LENGTHS = [["minLength", "maxLength", "characters"], ["minItems", "maxItems", "items"]];

/** The range of a length in words. */
function lengths(least, most, unit) {
  return most === undefined ? `${least} or more ${unit}` : `${least} to ${most} ${unit}`;
}

/** A description without the marks around code, its paragraphs on one line each. */
export function plain(text) {
  return text?.replaceAll("``", "").replace(/([^\n])\n(?![\n*-])/g, "$1 ");
}

export class Schemas {
  /** `named` are the description's components. */
  constructor(named) {
    this.named = named;
  }

  /** A schema with its reference resolved. */
  resolved(schema) {
    return schema?.$ref ? this.named[schema.$ref.slice(PREFIX.length)] ?? {} : schema ?? {};
  }

  /** The fields of an object; of anything else its type. */
  fields(schema) {
    const { properties, required = [], description } = this.resolved(schema);
    if (!properties)
      return element("div", {}, element("p", {}, element("code", {}, this.type(schema))),
      ...this.inner(schema));
    const rows = Object.entries(properties).map(([name, one]) =>
      ({ name, required: required.includes(name), schema: one, about: one.description }));
    return element("div", {}, description && element("p", { class: "muted" }, plain(description)),
      this.table(rows, false));
  }

  /** Rows are {name, where, required, schema, about}. */
  table(rows, places) {
    const titles = ["Name", ...(places ? ["In"] : []), "Type", "Default", "Range"];
    const scroll = { class: "scroll", tabindex: "0", role: "group", "aria-label": "Fields" };
    return element("div", scroll, element("table", { class: "table" },
      element("thead", {},
        element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, ...rows.map((row) => this.row(row, places)))));
  }

  row({ name, where, required, schema, about }, places) {
    const preset = this.resolved(schema).default ?? schema?.default;
    return element("tr", {},
      element("td", {}, element("code", {}, name),
        about && element("p", { class: "muted" }, plain(about))),
      places && element("td", {}, where),
      element("td", {}, element("span", {}, this.type(schema)), ...this.inner(schema)),
      element("td", {}, required ? "required" : preset === undefined ? ""
        : element("code", {}, JSON.stringify(preset))),
      element("td", {}, this.range(schema)));
  }

  /** In a few words. */
  type(schema) {
    if (schema?.$ref) return schema.$ref.slice(PREFIX.length);
    const one = schema ?? {};
    const choice = one.anyOf ?? one.oneOf;
    if (choice) return choice.map((each) => this.type(each)).join(" or ");
    if ("const" in one) return JSON.stringify(one.const);
    if (one.enum) return one.enum.map((each) => JSON.stringify(each)).join(" or ");
    if (one.type === "array") return `list of ${this.type(one.items)}`;
    return one.format ? `${one.type} (${one.format})` : one.type ?? "anything";
  }

  range(schema) {
    const one = schema ?? {};
    const parts = LIMITS.filter(([name]) => name in one).map(([name, sign]) => sign + one[name]);
    for (const [least, most, unit] of LENGTHS) {
      if (least in one || most in one) parts.push(lengths(one[least] ?? 0, one[most], unit));
    }
    if (one.pattern) parts.push(one.pattern);
    for (const each of one.anyOf ?? one.oneOf ?? []) {
      const inside = this.range(each);
      if (inside) parts.push(inside);
    }
    return parts.join(", ");
  }

  /** A details element for each object that a schema refers to. */
  inner(schema) {
    const one = schema ?? {};
    if (one.$ref) return this.resolved(one).properties ? [this.details(one)] : [];
    return [...(one.anyOf ?? one.oneOf ?? []), ...(one.items ? [one.items] : [])]
      .flatMap((each) => this.inner(each));
  }

  details(schema) {
    const details =
      element("details", { class: "schema" }, element("summary", {}, this.type(schema)));
    details.addEventListener("toggle", () => details.append(this.fields(schema)), { once: true });
    return details;
  }
}
