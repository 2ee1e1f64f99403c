// The API reference, generated from /openapi.json: routes by tag, collapsed at first.

import { byId, element } from "../dom.js";
import { plain, Schemas } from "./schemas.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

load();

async function load() {
  const trouble = byId("trouble");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const tags = show(await answer.json());
    byId("contents").replaceChildren(...tags.map((tag) => element("a", { href: `#${tag}` }, tag)));
    open();
  } catch (error) {
    trouble.textContent =
      `The API's description could not be read (${error.message}). Reload to try again.`;
    trouble.hidden = false;
  }
}

/** Fill the page; returns the tags in their order. */
function show(description) {
  const schemas = new Schemas(description.components?.schemas ?? {});
  const byTag = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const method of METHODS.filter((name) => methods[name])) {
      const tag = methods[method].tags?.[0] ?? "Other";
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(route(method, path, methods[method], schemas));
    }
  }
  byId("routes").replaceChildren(...[...byTag].map(([tag, routes]) =>
    element("section", { id: tag, "aria-labelledby": `${tag}-title` },
      element("h2", { id: `${tag}-title` }, tag), ...routes)));
  return [...byTag.keys()];
}

function route(method, path, about, schemas) {
  return element("details", { class: "route", id: `${method}${path}` },
    element("summary", {},
      element("span", { class: `method ${method}` }, method.toUpperCase()),
      element("code", {}, path),
      about.deprecated && element("span", { class: "chip bad" }, "deprecated"),
      element("span", { class: "muted" }, about.summary)),
    element("div", { class: "body" },
      element("p", { class: "prose" }, plain(about.description)),
      ...parameters(about, schemas), ...request(about, schemas), ...answers(about, schemas)));
}

function parameters(about, schemas) {
  const rows = (about.parameters ?? []).map((one) =>
    ({ name: one.name, where: one.in, required: one.required, schema: one.schema,
      about: one.description }));
  return rows.length ? [element("h3", {}, "Parameters"), schemas.table(rows, true)] : [];
}

function request(about, schemas) {
  return Object.entries(about.requestBody?.content ?? {}).flatMap(([type, content]) =>
    [element("h3", {}, "Request body ", element("code", {}, type)),
      schemas.fields(content.schema), ...example(content)]);
}

/** The example of a body, as it is sent. */
function example({ example: body }) {
  if (body === undefined) return [];
  const text = typeof body === "string" ? body : JSON.stringify(body, null, 2);
  return [element("pre", { class: "example", tabindex: "0", "aria-label": "Example" }, text)];
}

function answers(about, schemas) {
  const rows = Object.entries(about.responses ?? {}).map(([status, answer]) => {
    const content = Object.entries(answer.content ?? {});
    return element("div", { class: "answer" },
      element("p", {},
        element("span", { class: status.startsWith("2") ? "chip" : "chip bad" }, status),
        ` ${answer.description} `,
        ...content.map(([type]) => element("code", {}, type))),
      ...content.filter(([, { schema }]) => schema)
        .map(([, { schema }]) => schemas.details(schema)),
      ...content.flatMap(([, one]) => example(one)));
  });
  return [element("h3", {}, "Responses"), ...rows];
}

/** Open the route that the URL fragment names. */
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.localName === "details") target.open = true;
  target.scrollIntoView();
}
