// Vercel's AI SDK: its provider for OpenAI, which asks for responses unless it is told to chat, and those for Anthropic
// and for services with OpenAI's chat completions.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { CHAT, COLD, GOES_ON, HUNDRED, LONG, MOODS, OPPOSITE, PICTURE, SEEN, SERVICE, VISION, assert, endOf, test } from "./service.mjs";

const openai = createOpenAI({ baseURL: `${SERVICE}/v1`, apiKey: "none" });
const output = Output.object({ schema: z.object({ mood: z.enum(MOODS) }) });

for (const [api, model] of Object.entries({ responses: openai, chat: openai.chat })) {
  const same = { model: model(CHAT), temperature: 0, maxRetries: 0 };

  test(`${api}: a text, whole and streamed`, async () => {
    const whole = await generateText({ ...same, prompt: OPPOSITE });
    assert.deepEqual([whole.text, whole.finishReason], [COLD, "stop"]);
    const stream = streamText({ ...same, prompt: OPPOSITE });
    const deltas = [];
    for await (const delta of stream.textStream) deltas.push(delta);
    assert.equal(deltas.join(""), COLD);
    assert.ok(deltas.length > 1);
    assert.deepEqual((await stream.usage).outputTokens, whole.usage.outputTokens);
  });

  test(`${api}: an object, whole and streamed`, async () => {
    const whole = await generateText({ ...same, prompt: "Hello", output });
    assert.ok(MOODS.includes(whole.output.mood));
    const stream = streamText({ ...same, prompt: "Hello", output });
    for await (const part of stream.partialOutputStream) assert.ok(typeof part === "object");
    assert.ok(MOODS.includes((await stream.output).mood));
  });

  test(`${api}: a loop of steps, the first of which calls a tool`, async () => {
    const cities = [];
    const inputSchema = z.object({ city: z.enum(["Paris"]) });
    const execute = async ({ city }) => cities.push(city) && "sunny";
    const weather = tool({ description: "The weather.", inputSchema, execute });
    const prepareStep = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? { type: "tool", toolName: "weather" } : "none" });
    const { steps, text } = await generateText({ ...same, prompt: "Weather?", tools: { weather }, stopWhen: stepCountIs(3), prepareStep });
    assert.deepEqual(cities, ["Paris"]);
    assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "stop"]);
    assert.ok(text);
  });

  test(`${api}: a picture`, async () => {
    const content = [{ type: "text", text: "What is in the picture?" }, { type: "image", image: PICTURE }];
    const { text } = await generateText({ ...same, model: model(VISION), messages: [{ role: "user", content }] });
    assert.match(text, SEEN);
  });

  test(`${api}: a text that is aborted ends at the service`, async () => {
    const aborter = new AbortController();
    let job = "";
    const include = (input, init) => fetch(input, { ...init, body: JSON.stringify({ ...JSON.parse(init.body), ...GOES_ON }) }).then((response) => ((job = response.headers.get("x-job-id")), response));
    const heard = createOpenAI({ baseURL: `${SERVICE}/v1`, apiKey: "none", fetch: include });
    const stream = streamText({ ...same, model: (api === "chat" ? heard.chat : heard)(CHAT), prompt: HUNDRED, maxOutputTokens: LONG, abortSignal: aborter.signal, providerOptions: { openai: { store: false } } });
    const types = new Set();
    for await (const { type } of stream.fullStream) {
      types.add(type);
      if (type === "text-delta") aborter.abort();
    }
    assert.ok(types.has("abort"));
    assert.equal(await endOf(job), "cancelled");
  });

  test(`${api}: errors are the SDK's own`, async () => {
    const wrong = generateText({ ...same, model: model("nothing"), prompt: "Hello" });
    await assert.rejects(wrong, (error) => APICallError.isInstance(error) && error.statusCode === 404 && !error.isRetryable);
  });
}

const others = {
  messages: createAnthropic({ baseURL: `${SERVICE}/v1`, apiKey: "none" }),
  compatible: createOpenAICompatible({ name: "mlxq", baseURL: `${SERVICE}/v1` }),
};
for (const [api, provider] of Object.entries(others)) {
  test(`${api}: a text, whole and streamed, and a call`, async () => {
    const same = { model: provider(CHAT), temperature: 0, maxRetries: 0, maxOutputTokens: 100 };
    assert.equal((await generateText({ ...same, prompt: OPPOSITE })).text, COLD);
    assert.equal(await streamText({ ...same, prompt: OPPOSITE }).text, COLD);
    const weather = tool({ description: "The weather.", inputSchema: z.object({ city: z.enum(["Paris"]) }) });
    const { toolCalls } = await generateText({ ...same, prompt: "Weather?", tools: { weather }, toolChoice: "required" });
    assert.deepEqual(toolCalls.map(({ input }) => input), [{ city: "Paris" }]);
  });
}
