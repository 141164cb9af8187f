// What every client on Node asks, and what it reports: CLIENT_TEST (JSON) says whom. Not a client itself.
import assert from "node:assert/strict";

export const test = JSON.parse(process.env.CLIENT_TEST);
export const [HELLO, CALL, STRUCTURED, SLOW, THINK] =
  ["Hello", `Please use ${test.tool}.`, "Answer in JSON.", "Go on and on.", "Please think."];
export const RESULT = "12 degrees";
export const INPUTS = ["The food was delicious.", "The waiter was not.", "The food was delicious."];
// How long a vector is asked to be, where the upstream takes that.
export const DIMENSIONS = 8;
export const CITY = {
  type: "object", properties: { city: { type: "string", enum: ["Paris", "Rome"] } }, required: ["city"],
  additionalProperties: false,
};
// Output tokens for an answer, and for one that is left in the middle.
export const [SHORT, LONG] = [300, 10_000];
export const seen = { answers: 0, input: 0, output: 0, aborted: 0, budget_refusals: 0 };

/** An answer, or several, that came to their end. */
export function saw(input, output, answers = 1) {
  assert.ok(input > 0 && output > 0, "tokens are reported");
  seen.answers += answers;
  seen.input += input;
  seen.output += output;
}

/** Embeddings. The mock reports no tokens or none used, which the gateway does not take for their number. */
export function embedded(input, { mocked }) {
  seen.answers += 1;
  if (mocked) return;
  assert.ok(input > 0, "tokens are reported");
  seen.input += input;
}

/** As numbers of 32 bits can say them. Those of llama.cpp also depend on what else it is asked for at the time. */
export function sameVectors(got, wanted, { name }) {
  assert.deepEqual(got.map((vector) => vector.length), wanted.map((vector) => vector.length));
  assert.ok(got.length > 0 && got.every((vector) => vector.length > 0));
  if (name === "llama") return;
  got.forEach((vector, at) => vector.forEach((number, place) => assert.ok(Math.abs(number - wanted[at][place]) < 1e-6)));
}

export async function perBackend(...checks) {
  for (const backend of test.backends) {
    for (const check of checks) {
      try {
        await check(backend);
      } catch (error) {
        error.message += ` (${check.name} at ${backend.name})`;
        throw error;
      }
    }
  }
}

export const report = () => console.log(JSON.stringify(seen));
