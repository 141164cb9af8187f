// aimock, a provider that others wrote: OpenAI at /v1/chat/completions, Anthropic at /v1/messages. What it says hangs on
// the last user message. Serves until its standard input ends; its address is the first line that it prints. With arguments,
// it answers nobody who has none of these keys. A key that is written KEY:revoked-after=N is revoked once it was answered N times.
import { LLMock } from "@copilotkit/aimock";

const usage = { prompt_tokens: 40, completion_tokens: 12, total_tokens: 52, input_tokens: 40, output_tokens: 12 };
const call = { name: "get_weather", arguments: { city: "Paris" } };
const busy = { error: { message: "slow down, holder of sk-upstream-secret", type: "rate_limit_error" }, status: 429 };

const keys = process.argv.slice(2).map((argument) => argument.split(":revoked-after="));
const auth = keys.length === 0 ? {} : { auth: { apiKeys: keys.map(([key]) => key) } };
const mock = new LLMock({ port: 0, host: "127.0.0.1", logLevel: "silent", ...auth });

// aimock checks keys itself, but reads its list of them once, at the start. So this handler revokes them: aimock calls it after its own
// check of the key and before its own paths. It refuses with OpenAI's status and body, and leaves everything else to aimock.
const left = new Map(keys.filter(([, count]) => count !== undefined).map(([key, count]) => [key, Number(count)]));
const incorrect = (key) => ({ error: {
  message: `Incorrect API key provided: ${key.slice(0, 8)}${"*".repeat(key.length - 12)}${key.slice(-4)}. You can find your API `
    + "key at https://platform.openai.com/account/api-keys.",
  type: "invalid_request_error", param: null, code: "invalid_api_key" } });
const revocation = {
  async handleRequest(request, response) {
    const key = request.headers.authorization?.replace("Bearer ", "");
    if (!left.has(key)) return false;
    if (left.get(key) > 0) {
      left.set(key, left.get(key) - 1);
      return false;
    }
    response.writeHead(401, { "content-type": "application/json" }).end(JSON.stringify(incorrect(key)));
    return true;
  },
};
if (left.size > 0) mock.mount("/v1", revocation);
mock.on({ userMessage: "get_weather", hasToolResult: false }, { toolCalls: [call], usage });
mock.on({ userMessage: "get_weather", hasToolResult: true }, { content: "It is 12 degrees in Paris.", usage });
mock.on({ userMessage: "think" }, { content: "Twelve.", reasoning: "Six and six make twelve.", usage });
mock.on({ userMessage: "JSON" }, { content: '{"city":"Paris"}', usage });
mock.on({ userMessage: "on and on" }, { content: "and on ".repeat(3000) }, { latency: 25, chunkSize: 7 });
mock.on({ userMessage: "busy" }, { ...busy, retryAfter: 1 });
mock.on({ userMessage: "break" }, { content: "and on ".repeat(50) }, { latency: 25, chunkSize: 7, truncateAfterChunks: 5 });
mock.on({ userMessage: "Hello" }, { content: "The quick brown fox jumps over the lazy dog", usage });
await mock.start();
console.log(mock.url);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
