// Builds the chat request for an answer from the messages before it.

/** What is null is left out of the request: the service or the model has a value for it. */
export const DEFAULTS = Object.freeze({
  temperature: 0.7, maxTokens: 512, system: "", seed: null,
  topP: null, topK: null, minP: null, repetitionPenalty: null,
});

/** The body of a chat request. `dataUrl(id)` resolves to an image's data: URL. */
export async function requestFor(conversation, answer, dataUrl) {
  const before = conversation.messages.slice(0, conversation.messages.indexOf(answer));
  const { model, temperature, maxTokens, system, seed } = answer.settings;
  const { topP, topK, minP, repetitionPenalty } = answer.settings;
  const messages =
    await Promise.all(before.filter(saysSomething).map((message) => asSent(message, dataUrl)));
  if (answer.said) messages.push(begunBy(answer));
  if (system.trim()) messages.unshift({ role: "system", content: system });
  return {
    model_id: model,
    messages: alternating(messages),
    temperature,
    max_tokens: maxTokens,
    seed,
    ...given({
      top_p: topP, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty,
    }),
    stream_options: { include_usage: true, include_progress: true },
    on_disconnect: "continue",
  };
}

/** The last message of a request whose answer goes on in its words, or in its thinking. */
const begunBy = ({ said, thought }) => ({
  role: "assistant", ...(thought ? { content: "", reasoning: said } : { content: said }),
});
/** The fields that are set: conversations of older versions of this page lack some. */
const given = (fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => (value ?? null) !== null));

const saysSomething = (message) => message.text !== "" || Boolean(message.images?.length);

async function asSent({ role, text, images = [] }, dataUrl) {
  if (images.length === 0) return { role, content: text };
  const parts = await Promise.all(images.map(
    async (id) => ({ type: "image_url", image_url: { url: await dataUrl(id) } })));
  if (text) parts.unshift({ type: "text", text });
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
