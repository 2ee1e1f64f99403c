// OpenAI's client for Node: chat completions, responses, models, counts.

import OpenAI, { APIUserAbortError, NotFoundError } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { CHAT, COLD, GOES_ON, HUNDRED, LONG, MOODS, OPPOSITE, PICTURE, SEEN, SERVICE, VISION, assert, endOf, test } from "./service.mjs";

const client = new OpenAI({ baseURL: `${SERVICE}/v1`, apiKey: "none", maxRetries: 0 });
const same = { model: CHAT, temperature: 0 };
const user = (content) => [{ role: "user", content }];
const Verdict = z.object({ mood: z.enum(MOODS) });
const image = `data:image/png;base64,${PICTURE.toString("base64")}`;
const weather = { name: "weather", parameters: { type: "object", properties: { city: { enum: ["Paris"] } }, required: ["city"], additionalProperties: false } };

test("a chat, whole and streamed", async () => {
  const whole = await client.chat.completions.create({ ...same, messages: user(OPPOSITE) });
  assert.equal(whole.choices[0].message.content, COLD);
  const stream = client.chat.completions.stream({ ...same, messages: user(OPPOSITE), stream_options: { include_usage: true } });
  const deltas = [];
  stream.on("content", (delta) => deltas.push(delta));
  assert.equal(await stream.finalContent(), COLD);
  assert.ok(deltas.length > 1);
  assert.equal((await stream.totalUsage()).completion_tokens, whole.usage.completion_tokens);
});

test("a chat whose answer follows a schema", async () => {
  const { choices } = await client.chat.completions.parse({ ...same, messages: user("Hello"), response_format: zodResponseFormat(Verdict, "verdict") });
  assert.ok(MOODS.includes(choices[0].message.parsed.mood));
});

test("a chat that calls a tool and goes on with its result", async () => {
  const messages = user("Weather?");
  const tools = [{ type: "function", function: weather }];
  const first = await client.chat.completions.create({ ...same, messages, tools, tool_choice: { type: "function", function: { name: "weather" } } });
  const [call] = first.choices[0].message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: OPPOSITE });
  const second = await client.chat.completions.create({ ...same, messages, tools, tool_choice: "none" });
  assert.equal(second.choices[0].finish_reason, "stop");
  assert.ok(second.choices[0].message.content);
});

test("a streamed call comes in pieces", async () => {
  const stream = client.chat.completions.stream({ ...same, messages: user("Weather?"), tools: [{ type: "function", function: weather }], tool_choice: "required" });
  const pieces = [];
  stream.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => pieces.push(arguments_delta));
  const [call] = (await stream.finalMessage()).tool_calls;
  assert.equal(pieces.join(""), call.function.arguments);
  assert.ok(pieces.length > 1);
});

test("a picture", async () => {
  const parts = [{ type: "image_url", image_url: { url: image } }, { type: "text", text: "What is in the picture?" }];
  const { choices } = await client.chat.completions.create({ ...same, model: VISION, messages: user(parts) });
  assert.match(choices[0].message.content, SEEN);
});

test("a chat that is aborted ends at the service", async () => {
  const { data, response } = await client.chat.completions.create({ ...same, ...GOES_ON, max_tokens: LONG, messages: user(HUNDRED), stream: true }).withResponse();
  for await (const chunk of data) if (chunk.choices[0]?.delta.content) data.controller.abort();
  assert.equal(await endOf(response.headers.get("x-job-id")), "cancelled");
});

test("a response, whole, streamed and counted", async () => {
  const whole = await client.responses.create({ ...same, input: OPPOSITE });
  assert.equal(whole.output_text, COLD);
  const stream = client.responses.stream({ ...same, input: OPPOSITE });
  const deltas = [];
  stream.on("response.output_text.delta", ({ delta }) => deltas.push(delta));
  assert.equal((await stream.finalResponse()).output_text, COLD);
  assert.equal(deltas.join(""), COLD);
  const counted = await client.responses.inputTokens.count({ model: CHAT, input: OPPOSITE });
  assert.equal(counted.input_tokens, whole.usage.input_tokens);
});

test("a response that follows a schema, and one that sees", async () => {
  const shaped = await client.responses.parse({ ...same, input: "Hello", text: { format: zodTextFormat(Verdict, "verdict") } });
  assert.ok(MOODS.includes(shaped.output_parsed.mood));
  const content = [{ type: "input_image", image_url: image, detail: "auto" }, { type: "input_text", text: "What is in the picture?" }];
  const seen = await client.responses.create({ ...same, model: VISION, input: user(content) });
  assert.match(seen.output_text, SEEN);
});

test("a response that calls a tool, and the next one with its output", async () => {
  const tools = [{ type: "function", strict: true, ...weather }];
  const first = await client.responses.create({ ...same, input: "Weather?", tools, tool_choice: { type: "function", name: "weather" } });
  const call = first.output.find(({ type }) => type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
  const input = [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }];
  const second = await client.responses.create({ ...same, input, tools, tool_choice: "none", previous_response_id: first.id });
  assert.equal(second.status, "completed");
  assert.ok(second.output_text);
  assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
});

test("a response that is aborted ends at the service", async () => {
  const { data, response } = await client.responses.create({ ...same, ...GOES_ON, max_output_tokens: LONG, input: HUNDRED, stream: true, store: false }).withResponse();
  for await (const event of data) if (event.type === "response.output_text.delta") data.controller.abort();
  assert.equal(await endOf(response.headers.get("x-job-id")), "cancelled");
});

test("models are listed, and errors are the client's own", async () => {
  const names = [];
  for await (const { id } of client.models.list()) names.push(id);
  assert.deepEqual(names, [CHAT, VISION]);
  await assert.rejects(client.chat.completions.create({ model: "nothing", messages: user("Hello") }), (error) => error instanceof NotFoundError && error.code === "model_not_found" && error.param === "model");
  const late = client.chat.completions.create({ ...same, messages: user("Hello") }, { signal: AbortSignal.abort() });
  await assert.rejects(late, APIUserAbortError);
});
