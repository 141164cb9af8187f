// Vercel's AI SDK as it is installed, with its provider for OpenAI-compatible servers or, where the first argument says so,
// for Anthropic, against a gateway.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import {
  CALL, CITY, HELLO, INPUTS, LONG, RESULT, SHORT, SLOW, STRUCTURED, THINK, embedded, perBackend, report, sameVectors, saw, seen, test,
} from "./asked.mjs";

const isAnthropic = process.argv[2] === "anthropic";
const as = (apiKey) => isAnthropic ? createAnthropic({ baseURL: test.base_url, apiKey }) : createOpenAICompatible({
  name: "ledgerway", baseURL: test.base_url, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const provider = as(test.rich_key);
const tools = { [test.tool]: tool({ description: "The weather", inputSchema: jsonSchema(CITY), execute: async () => RESULT }) };
const asking = (model, prompt, more = {}) =>
  ({ model: provider(model), system: "Be brief.", prompt, maxOutputTokens: SHORT, maxRetries: 0, ...more });

function answered(usage, answers = 1) {
  saw(usage.inputTokens, usage.outputTokens, answers);
}

async function whole({ model, text }) {
  const answer = await generateText(asking(model, HELLO));
  answered(answer.usage);
  assert.equal(answer.text, text ?? answer.text);
  assert.equal(answer.response.modelId, model);
}

async function streamed({ model, text }) {
  const answer = streamText(asking(model, HELLO));
  let said = "";
  for await (const piece of answer.textStream) said += piece;
  answered(await answer.totalUsage);
  assert.ok(said);
  assert.equal(said, text ?? said);
}

async function toolCalls({ model, arguments: expected }) {
  const twice = { tools, stopWhen: stepCountIs(3) };
  const answer = await generateText(asking(model, CALL, twice));
  answered(answer.totalUsage, 2);
  const [call] = answer.steps[0].toolCalls;
  assert.deepEqual([answer.steps.length, call.toolName], [2, test.tool]);
  if (expected) assert.deepEqual(call.input, expected);
  assert.ok(answer.text);
  const stream = streamText(asking(model, CALL, twice));
  await stream.consumeStream();
  answered(await stream.totalUsage, 2);
  assert.equal((await stream.steps).length, 2);
  assert.ok(await stream.text);
}

async function structured({ model, structured, one_call: oneCall }) {
  // For Anthropic, it asks for exactly one call of a tool, which not every dialect can express.
  if (!structured || (isAnthropic && !oneCall)) return;
  const answer = await generateText(asking(model, STRUCTURED, { output: Output.object({ schema: jsonSchema(CITY), name: "city" }) }));
  answered(answer.usage);
  assert.ok(["Paris", "Rome"].includes(answer.output.city));
}

async function reasoning({ model, thinks }) {
  if (!thinks) return;
  const answer = await generateText(asking(model, THINK));
  answered(answer.usage);
  assert.deepEqual([answer.reasoningText, answer.text], ["Six and six make twelve.", "Twelve."]);
}

async function embeddings(backend) {
  const { embeds, embed_model: model } = backend;
  if (!embeds || isAnthropic) return;
  const { embeddings, usage, values } = await embedMany({ model: provider.textEmbeddingModel(model), values: INPUTS, maxRetries: 0 });
  embedded(usage.tokens, backend);
  assert.deepEqual([embeddings.length, values], [INPUTS.length, INPUTS]);
  assert.notDeepEqual(embeddings[0], embeddings[1]);
  sameVectors(embeddings.slice(2), embeddings.slice(0, 1), backend);
}

async function aborted({ slow_model: model }) {
  const leave = new AbortController();
  const stream = streamText(asking(model, SLOW, { maxOutputTokens: LONG, abortSignal: leave.signal }));
  let pieces = 0;
  for await (const part of stream.fullStream) {
    if (part.type === "text-delta" && (pieces += 1) === 5) leave.abort();
  }
  assert.ok(leave.signal.aborted);
  seen.aborted += 1;
}

async function refusals() {
  const ask = (key, model = test.backends[0].model) =>
    generateText({ model: as(key)(model), prompt: HELLO, maxOutputTokens: SHORT, maxRetries: 0 });
  const refused = (asked, status, code, type) =>
    assert.rejects(asked, (error) => {
      assert.ok(APICallError.isInstance(error), `${error}`);
      const said = error.data?.error;
      assert.deepEqual([error.statusCode, isAnthropic ? said.type : said.code], [status, isAnthropic ? type : code]);
      return true;
    });
  await refused(ask("sgk_garbage"), 401, "invalid_api_key", "authentication_error");
  await refused(ask(test.rich_key, "no-such-model"), 404, "model_not_found", "not_found_error");
  await refused(ask(test.poor_key), 429, "insufficient_quota", "rate_limit_error");
  seen.budget_refusals += 1;
  answered((await ask(test.rare_key)).usage);
  await refused(ask(test.rare_key), 429, "rate_limit_exceeded", "rate_limit_error");
}

await perBackend(whole, streamed, toolCalls, structured, reasoning, embeddings, aborted);
await refusals();
report();
