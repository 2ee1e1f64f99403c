// Anthropic's client for Node.

import Anthropic, { APIUserAbortError, NotFoundError } from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

import { CHAT, COLD, GOES_ON, HUNDRED, LONG, MOODS, OPPOSITE, PICTURE, SEEN, SERVICE, VISION, assert, endOf, test } from "./service.mjs";

const client = new Anthropic({ baseURL: SERVICE, apiKey: "none", maxRetries: 0 });
const same = { model: CHAT, max_tokens: 400 };
const user = (content) => [{ role: "user", content }];
const City = z.object({ city: z.enum(["Paris"]) });

test("a message, whole, streamed and counted", async () => {
  const whole = await client.messages.create({ ...same, messages: user(OPPOSITE) });
  assert.deepEqual([whole.content[0].text, whole.stop_reason], [COLD, "end_turn"]);
  const stream = client.messages.stream({ ...same, messages: user(OPPOSITE) });
  const deltas = [];
  stream.on("text", (delta) => deltas.push(delta));
  assert.equal(await stream.finalText(), COLD);
  assert.ok(deltas.length > 1);
  const counted = await client.messages.countTokens({ model: CHAT, messages: user(OPPOSITE) });
  assert.equal(counted.input_tokens, whole.usage.input_tokens + whole.usage.cache_read_input_tokens);
});

test("a message that follows a schema", async () => {
  const format = zodOutputFormat(z.object({ mood: z.enum(MOODS) }));
  const message = await client.messages.parse({ ...same, messages: user("Hello"), output_config: { format } });
  assert.ok(MOODS.includes(message.parsed_output.mood));
});

for (const stream of [false, true]) {
  test(`the tool runner calls, and sends the results, ${stream ? "streamed" : "whole"}`, async () => {
    const cities = [];
    const run = ({ city }) => cities.push(city) && "sunny";
    const tools = [betaZodTool({ name: "weather", description: "The weather.", inputSchema: City, run })];
    const runner = client.beta.messages.toolRunner({ ...same, messages: user("Weather?"), tools, stream, tool_choice: { type: "tool", name: "weather" }, max_iterations: 2 });
    const last = await runner.runUntilDone();
    assert.deepEqual(cities, ["Paris", "Paris"]);
    assert.equal(last.stop_reason, "tool_use");
  });
}

test("a picture", async () => {
  const source = { type: "base64", media_type: "image/png", data: PICTURE.toString("base64") };
  const content = [{ type: "image", source }, { type: "text", text: "What is in the picture?" }];
  const message = await client.messages.create({ ...same, model: VISION, messages: user(content) });
  assert.match(message.content[0].text, SEEN);
});

test("a message that is aborted ends at the service", async () => {
  const stream = client.messages.stream({ ...same, ...GOES_ON, max_tokens: LONG, messages: user(HUNDRED) });
  const { request_id: job } = await stream.withResponse();
  stream.on("text", () => stream.abort());
  await assert.rejects(stream.done(), APIUserAbortError);
  assert.equal(await endOf(job), "cancelled");
});

test("models are listed, and errors are the client's own", async () => {
  const names = [];
  for await (const { id } of client.models.list()) names.push(id);
  assert.deepEqual(names, [CHAT, VISION]);
  await assert.rejects(client.messages.create({ ...same, model: "nothing", messages: user("Hello") }), (error) => error instanceof NotFoundError && error.type === "not_found_error" && Boolean(error.requestID));
});
