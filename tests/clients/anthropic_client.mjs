// The npm package `@anthropic-ai/sdk` as it is installed, against a gateway.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { CALL, CITY, HELLO, LONG, RESULT, SHORT, SLOW, THINK, perBackend, report, saw, seen, test } from "./asked.mjs";

const as = (apiKey) => new Anthropic({ baseURL: test.base_url.replace(/\/v1$/, ""), apiKey, maxRetries: 0, timeout: 30_000 });
const client = as(test.rich_key);
const tools = [{ name: test.tool, description: "The weather", input_schema: CITY }];
const asking = (model, content, more = {}) =>
  ({ model, max_tokens: SHORT, system: "Be brief.", messages: [{ role: "user", content }], ...more });

function answered(message) {
  const { input_tokens: input, cache_read_input_tokens: read, cache_creation_input_tokens: written } = message.usage;
  saw(input + (read ?? 0) + (written ?? 0), message.usage.output_tokens);
  return message;
}

const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

async function whole({ model, text }) {
  const message = answered(await client.messages.create(asking(model, HELLO)));
  assert.equal(message.model, model);
  assert.equal(textOf(message), text ?? textOf(message));
}

async function streamed({ model, text }) {
  const stream = client.messages.stream(asking(model, HELLO));
  let said = "";
  stream.on("text", (piece) => { said += piece; });
  const message = answered(await stream.finalMessage());
  assert.deepEqual([textOf(message), message.model], [said, model]);
  assert.equal(said, text ?? said);
}

async function toolCalls({ model, arguments: expected }) {
  const ask = asking(model, CALL, { tools });
  answered(await client.messages.create(ask));
  const message = answered(await client.messages.stream(ask).finalMessage());
  const call = message.content.find((block) => block.type === "tool_use");
  assert.deepEqual([message.stop_reason, call.name], ["tool_use", test.tool]);
  if (expected) assert.deepEqual(call.input, expected);
  const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: RESULT }] };
  const messages = [...ask.messages, { role: "assistant", content: message.content }, result];
  assert.ok(textOf(answered(await client.messages.create({ ...ask, messages }))));
}

async function reasoning({ model, thinks }) {
  if (!thinks) return;
  const message = answered(await client.messages.stream(asking(model, THINK)).finalMessage());
  assert.deepEqual(message.content.map((block) => block.thinking ?? block.text), ["Six and six make twelve.", "Twelve."]);
}

async function aborted({ slow_model: model }) {
  const stream = client.messages.stream(asking(model, SLOW, { max_tokens: LONG }));
  let pieces = 0;
  for await (const event of stream) {
    if (event.type === "content_block_delta" && (pieces += 1) === 5) break;
  }
  stream.abort();
  assert.equal(pieces, 5);
  seen.aborted += 1;
}

async function refusals() {
  const ask = (key, model = test.backends[0].model) => as(key).messages.create(asking(model, HELLO));
  const refused = (asked, status, type) =>
    assert.rejects(asked, (error) => {
      assert.ok(error instanceof Anthropic.APIError, `${error}`);
      assert.deepEqual([error.status, error.error.error.type], [status, type]);
      assert.match(error.requestID, /^req_/);
      return true;
    });
  await refused(ask("sgk_garbage"), 401, "authentication_error");
  await refused(ask(test.rich_key, "no-such-model"), 404, "not_found_error");
  await refused(ask(test.poor_key), 429, "rate_limit_error");
  seen.budget_refusals += 1;
  answered(await ask(test.rare_key));
  await refused(ask(test.rare_key), 429, "rate_limit_error");
}

await perBackend(whole, streamed, toolCalls, reasoning, aborted);
await refusals();
report();
