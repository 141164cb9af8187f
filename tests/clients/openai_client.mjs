// The `openai` package as it is installed, against a gateway.
import assert from "node:assert/strict";
import OpenAI from "openai";
import {
  CALL, CITY, DIMENSIONS, HELLO, INPUTS, LONG, RESULT, SHORT, SLOW, STRUCTURED, THINK, embedded, perBackend, report, sameVectors, saw,
  seen, test,
} from "./asked.mjs";

const as = (apiKey, maxRetries = 0) => new OpenAI({ baseURL: test.base_url, apiKey, maxRetries, timeout: 30_000 });
const client = as(test.rich_key);
const tools = [{ type: "function", function: { name: test.tool, description: "The weather", parameters: CITY } }];
const asking = (content) => [{ role: "developer", content: "Be brief." }, { role: "user", content }];

function answered(answer) {
  saw(answer.usage.prompt_tokens, answer.usage.completion_tokens);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  return answer.choices[0];
}

async function whole({ model, text }) {
  const answer = await client.chat.completions.create({
    model, messages: asking(HELLO), max_completion_tokens: SHORT, store: false, seed: 1, metadata: { team: "red" },
  });
  const choice = answered(answer);
  assert.equal(answer.model, model);
  assert.ok(choice.message.content);
  if (text) assert.deepEqual([choice.message.content, choice.finish_reason], [text, "stop"]);
}

// Holds: inf.openai, inf.openai-stream
async function streamed({ model, text }) {
  const stream = await client.chat.completions.create({
    model, messages: asking(HELLO), max_tokens: SHORT, stream: true, stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const said = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(said, text ?? said);
  assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
  assert.deepEqual(chunks.at(-1).choices, []);
  saw(chunks.at(-1).usage.prompt_tokens, chunks.at(-1).usage.completion_tokens);
}

async function toolCalls({ model, arguments: expected }) {
  const ask = { model, messages: asking(CALL), tools, max_tokens: SHORT };
  const choice = answered(await client.chat.completions.create(ask));
  const [call] = choice.message.tool_calls;
  assert.deepEqual([choice.finish_reason, call.function.name], ["tool_calls", test.tool]);
  if (expected) assert.deepEqual(JSON.parse(call.function.arguments), expected);
  const stream = client.chat.completions.stream({ ...ask, stream_options: { include_usage: true } });
  const final = answered(await stream.finalChatCompletion());
  assert.deepEqual([final.finish_reason, final.message.tool_calls[0].function.name], ["tool_calls", test.tool]);
  const result = { role: "tool", tool_call_id: call.id, content: RESULT };
  const after = answered(await client.chat.completions.create({ ...ask, messages: [...ask.messages, choice.message, result] }));
  assert.ok(after.message.content);
}

async function structured({ model, structured }) {
  if (!structured) return;
  const format = { type: "json_schema", json_schema: { name: "city", schema: CITY, strict: true } };
  const ask = { model, messages: asking(STRUCTURED), max_tokens: SHORT, response_format: format };
  const choice = answered(await client.chat.completions.parse(ask));
  assert.ok(["Paris", "Rome"].includes(choice.message.parsed.city));
}

async function reasoning({ model, thinks }) {
  if (!thinks) return;
  const { message } = answered(await client.chat.completions.create({ model, messages: asking(THINK), max_tokens: SHORT }));
  assert.deepEqual([message.reasoning_content, message.content], ["Six and six make twelve.", "Twelve."]);
}

async function embed(backend, input, more = {}) {
  const { embed_model: model } = backend;
  const answer = await client.embeddings.create({ model, input, ...more });
  embedded(answer.usage.prompt_tokens, backend);
  assert.deepEqual([answer.model, answer.data.map(({ index }) => index)], [model, answer.data.map((_, index) => index)]);
  return answer.data.map(({ embedding }) => embedding);
}

// Holds: inf.embeddings, inf.embeddings-exact
async function embeddings(backend) {
  if (!backend.embeds) return;
  const floats = await embed(backend, INPUTS, { encoding_format: "float" });
  // The client asks for base64 of itself.
  sameVectors(await embed(backend, INPUTS), floats, backend);
  sameVectors(await embed(backend, INPUTS[1]), floats.slice(1, 2), backend);
  assert.notDeepEqual(floats[0], floats[1]);
  if (backend.sizes) {
    const short = await embed(backend, INPUTS, { dimensions: DIMENSIONS });
    assert.deepEqual(short.map((vector) => vector.length), INPUTS.map(() => DIMENSIONS));
  }
}

async function aborted({ slow_model: model }) {
  const stream = await client.chat.completions.create({ model, messages: asking(SLOW), max_tokens: LONG, stream: true });
  let chunks = 0;
  for await (const _ of stream) if ((chunks += 1) === 5) break;
  seen.aborted += 1;
}

// Holds: http.openai-errors, http.should-retry
async function refusals() {
  const ask = { model: test.backends[0].model, messages: asking(HELLO), max_tokens: SHORT };
  const refused = (client, more, kind, code) =>
    assert.rejects(client.chat.completions.create({ ...ask, ...more }), (error) => {
      assert.ok(error instanceof kind);
      assert.equal(error.code, code);
      return true;
    });
  await refused(as("sgk_garbage"), {}, OpenAI.AuthenticationError, "invalid_api_key");
  await refused(client, { model: "no-such-model" }, OpenAI.NotFoundError, "model_not_found");
  // The client retries a 429 twice, unless it is told that it should not.
  await refused(as(test.poor_key, 2), {}, OpenAI.RateLimitError, "insufficient_quota");
  seen.budget_refusals += 1;
  const rare = as(test.rare_key);
  answered(await rare.chat.completions.create(ask));
  await refused(rare, {}, OpenAI.RateLimitError, "rate_limit_exceeded");
}

await perBackend(whole, streamed, toolCalls, structured, reasoning, embeddings, aborted);
await refusals();
const listed = new Set();
for await (const model of client.models.list()) listed.add(model.id);
for (const { model } of test.backends) {
  assert.ok(listed.has(model), `${model} is not listed`);
  assert.equal((await client.models.retrieve(model)).id, model);
}
report();
