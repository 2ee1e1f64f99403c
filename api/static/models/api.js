// The calls of the models page. A refusal is an Error with the service's sentence.

const MODELS = "/api/engine/models";

/** The caller's session is over, or keys were added. */
export class SignedOut extends Error {}

async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST",
    headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(MODELS + path, options).catch(() => null);
  if (response === null) throw new Error("The service can't be reached. Try again.");
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) throw new SignedOut("You are signed out.");
  const words = [answer.detail, ...(answer.errors ?? [])].filter(Boolean).join(" ");
  throw new Error(words || `The service answered with status ${response.status}.`);
}

export const listModels = () => call("");
/** Load a model with a cache of so many bits, and with the draft model that it has. An adapter has
 * those of its base. */
export function load(model, bits, more = {}) {
  const draft = model.draft_model ? { draft_model: model.draft_model } : {};
  const own = model.base_id ? {} : { kv_quantization: bits, ...draft };
  return call("/load", { model_id: model.id, ...own, ...more });
}
export const pin = (model, bits) => load(model, bits, { pin: true });
export const unpin = (id) => call("/unpin", { model_id: id });
export const unload = (id) => call("/unload", { model_id: id });
export const scan = () => call("/scan", {});
export const download = (name) => call("/download", { model_id: name });
export const cancelDownload = (id) => call("/download/cancel", { model_id: id });
export const remove = (id) => call("/delete", { model_id: id });
