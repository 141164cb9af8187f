// The `openai` package as it is installed, against a gateway. Reads what to ask from CLIENT_TEST (JSON).
import assert from "node:assert/strict";
import OpenAI from "openai";

const test = JSON.parse(process.env.CLIENT_TEST);
const client = new OpenAI({ baseURL: test.base_url, apiKey: test.key, timeout: 20_000 });
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: test.tool, description: "The weather", parameters } }];
const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Hello" }];

async function whole(backend) {
  const answer = await client.chat.completions.create({ model: backend.model, messages, max_tokens: 100 });
  const [choice] = answer.choices;
  assert.deepEqual([answer.model, choice.finish_reason], [backend.model, "stop"]);
  assert.ok(choice.message.content);
  if (backend.text) assert.equal(choice.message.content, backend.text);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  return choice.message.content;
}

async function streamed(backend, text) {
  const stream = await client.chat.completions.create({
    model: backend.model, messages, max_tokens: 100, stream: true, stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), text);
  assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.total_tokens > 0);
}

async function toolCalls(backend) {
  const ask = {
    model: backend.tools_model, messages, tools, tool_choice: { type: "function", function: { name: test.tool } },
  };
  const [choice] = (await client.chat.completions.create(ask)).choices;
  const [call] = choice.message.tool_calls;
  assert.deepEqual([choice.finish_reason, call.function.name], ["tool_calls", test.tool]);
  const args = JSON.parse(call.function.arguments);
  if (backend.arguments !== null) assert.deepEqual(args, backend.arguments);
  const [final] = (await client.chat.completions.stream(ask).finalChatCompletion()).choices;
  assert.equal(final.finish_reason, "tool_calls");
  assert.equal(final.message.tool_calls[0].function.name, test.tool);
  assert.deepEqual(JSON.parse(final.message.tool_calls[0].function.arguments), args);
}

async function refusals() {
  const ask = { model: test.backends[0].model, messages };
  const as = (apiKey, maxRetries) => new OpenAI({ baseURL: test.base_url, apiKey, maxRetries });
  await assert.rejects(as("sgk_garbage", 0).chat.completions.create(ask), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...ask, model: "no-such-model" }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
  await assert.rejects(as(test.poor_key, 2).chat.completions.create(ask), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.deepEqual([error.code, error.type], ["insufficient_quota", "insufficient_quota"]);
    return true;
  });
}

for (const backend of test.backends) {
  await streamed(backend, await whole(backend));
  await toolCalls(backend);
}
await refusals();
const listed = new Set();
for await (const model of client.models.list()) listed.add(model.id);
for (const backend of test.backends) assert.ok(listed.has(backend.model), `${backend.model} is not listed`);
