// Builds the chat request for an answer from the messages before it.

import { asSentFile } from "./files.js";
import { before } from "./tree.js";

/** What is null is left out of the request: the service or the model has a value for it. */
export const DEFAULTS = Object.freeze({
  temperature: 0.7, maxTokens: 512, system: "", seed: null, effort: null,
  topP: null, topK: null, minP: null, repetitionPenalty: null,
  presencePenalty: null, frequencyPenalty: null, stop: null,
});

/** Settings by the names that the request has for them. */
const FIELDS = Object.entries({
  top_p: "topP", top_k: "topK", min_p: "minP", repetition_penalty: "repetitionPenalty",
  presence_penalty: "presencePenalty", frequency_penalty: "frequencyPenalty", stop: "stop",
  reasoning_effort: "effort",
});

/** The body of a chat request. `dataUrl(id)` resolves to an image's data: URL. */
export async function requestFor(conversation, answer, dataUrl) {
  const { settings } = answer;
  const messages = await Promise.all(before(conversation, answer).filter(saysSomething)
    .map((message) => asSent(message, dataUrl)));
  if (answer.said || answer.saidReasoning) messages.push(begunBy(answer));
  if (settings.system.trim()) messages.unshift({ role: "system", content: settings.system });
  return {
    model_id: settings.model,
    messages: alternating(messages),
    temperature: settings.temperature,
    max_tokens: settings.maxTokens,
    seed: settings.seed,
    ...given(settings),
    include_reasoning: true,
    stream_options: { include_usage: true, include_progress: true },
    on_disconnect: "continue",
  };
}

/** The last message of a request whose answer goes on in its words, or in its thinking. */
const begunBy = ({ said, saidReasoning }) => ({
  role: "assistant", content: said, ...(saidReasoning ? { reasoning: saidReasoning } : {}),
});

/** The fields that are set: conversations of older versions of this page lack some. */
const given = (settings) => Object.fromEntries(FIELDS
  .map(([field, name]) => [field, settings[name] ?? null]).filter(([, value]) => value !== null));

const saysSomething = ({ text, images, files }) =>
  text !== "" || Boolean(images?.length) || Boolean(files?.length);

/** A message as history: a model's thinking is no part of it. */
async function asSent({ role, text, images = [], files = [] }, dataUrl) {
  const words = [...files.map(asSentFile), text].filter(Boolean).join("\n\n");
  if (images.length === 0) return { role, content: words };
  const parts = await Promise.all(images.map(
    async (id) => ({ type: "image_url", image_url: { url: await dataUrl(id) } })));
  if (words) parts.unshift({ type: "text", text: words });
  return { role, content: parts };
}

/**
 * Joins consecutive messages of one role, as many chat templates require: a failed answer leaves
 * two in a row.
 */
function alternating(messages) {
  const out = [];
  for (const message of messages) {
    const last = out.at(-1);
    if (last?.role !== message.role) out.push({ ...message });
    else last.content =
      [...parts(last.content), { type: "text", text: "\n\n" }, ...parts(message.content)];
  }
  return out;
}

const parts = (content) =>
  (typeof content === "string" ? [{ type: "text", text: content }] : content);
