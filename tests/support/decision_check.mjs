// The decision of docs/decision.md in plain JavaScript, held against the vector file.
//
// node tests/decision_check.mjs [FILE]   prints how many cases agree; exits 1 on any difference.

import { readFileSync } from "node:fs";

const FIELDS = ["side", "points", "bucket", "rule"];
const SHOWN = 10;

function cborText(text) {
  // With the flag u a pair is one character, so that only lone surrogates match.
  const raw = Buffer.from(text.replace(/\p{Surrogate}/gu, "?"), "utf8");
  const size = raw.length;
  let head;
  if (size < 24) {
    head = Buffer.of(0x60 + size);
  } else if (size < 0x100) {
    head = Buffer.of(0x78, size);
  } else if (size < 0x10000) {
    head = Buffer.of(0x79, 0, 0);
    head.writeUInt16BE(size, 1);
  } else if (size < 0x100000000) {
    head = Buffer.of(0x7a, 0, 0, 0, 0);
    head.writeUInt32BE(size, 1);
  } else {
    head = Buffer.concat([Buffer.of(0x7b), Buffer.alloc(8)]);
    head.writeBigUInt64BE(BigInt(size), 1);
  }
  return Buffer.concat([head, raw]);
}

function rotl(value, by) {
  return (value << by) | (value >>> (32 - by));
}

function scramble(block) {
  return Math.imul(rotl(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593);
}

function murmur3(bytes) {
  const whole = bytes.length - (bytes.length % 4);
  let h = 0;
  for (let at = 0; at < whole; at += 4) {
    h = rotl(h ^ scramble(bytes.readUInt32LE(at)), 13);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  if (whole < bytes.length) {
    h ^= scramble(bytes.readUIntLE(whole, bytes.length - whole));
  }
  h ^= bytes.length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function bucketOf(route, key) {
  const h = murmur3(Buffer.concat([Buffer.of(0x82), cborText(route), cborText(key)]));
  return Number((BigInt(h) * 10000n) >> 32n);
}

function pointsOf(percent) {
  const points = Math.round(percent * 100);
  if (!(points >= 0 && points <= 10000) || points / 100 !== percent) {
    throw new Error(`${percent} is not a percent`);
  }
  return points;
}

function find(table, name) {
  return table !== undefined && Object.hasOwn(table, name) ? table[name] : undefined;
}

function shareOf(route, org, alias, flags) {
  const byAlias = alias === null ? undefined : find(route.keys, alias);
  if (byAlias !== undefined) {
    return [pointsOf(byAlias), `keys.${alias}`];
  }
  let best = null;
  for (const flag of flags) {
    const percent = find(route.flags, flag);
    if (percent !== undefined && (best === null || pointsOf(percent) > best[0])) {
      best = [pointsOf(percent), `flags.${flag}`];
    }
  }
  if (best !== null) {
    return best;
  }
  const line = find(route.orgs, org);
  const percent = typeof line === "object" ? line.percent : line;
  if (percent !== undefined) {
    return [pointsOf(percent), `orgs.${org}`];
  }
  return [pointsOf(route.default_percent ?? 0), "default_percent"];
}

function latchOf(file, route, org) {
  if (file.rolled_back === true) {
    return "rolled_back.file";
  }
  if (route.rolled_back === true) {
    return "rolled_back.route";
  }
  const line = find(route.orgs, org);
  return typeof line === "object" && line.rolled_back === true ? "rolled_back.org" : "";
}

function decide(file, { route: name, org, key, key_alias: alias, flags }) {
  const previous = (rule) => ({ side: "previous", points: 0, bucket: -1, rule });
  if (file === null) {
    return previous("no_file");
  }
  if (typeof name !== "string" || typeof org !== "string") {
    return previous("bad_argument");
  }
  const route = find(file.routes, name);
  if (route === undefined) {
    return previous("unknown_route");
  }
  if ((key !== null && typeof key !== "string") || !Array.isArray(flags)) {
    return previous("bad_argument");
  }
  const bucket = bucketOf(name, key || org);
  const [points, rule] = shareOf(route, org, alias, flags);
  const latch = latchOf(file, route, org);
  const side = latch === "" && bucket < points ? "tokenlab" : "previous";
  return { side, points, bucket, rule: latch || rule };
}

function textOf(value) {
  if (value === null || typeof value !== "object") {
    return value;
  }
  if (value.repeat !== undefined) {
    return value.repeat[0].repeat(value.repeat[1]);
  }
  return String.fromCharCode(...value.utf16);
}

function argumentsOf(given) {
  const texts = ["route", "org", "key", "key_alias"].map((name) => [name, textOf(given[name])]);
  const flags = Array.isArray(given.flags) ? given.flags.map(textOf) : given.flags;
  return { ...Object.fromEntries(texts), flags };
}

const path = process.argv[2] ?? new URL("../docs/decision-vectors.json", import.meta.url);
const { version, files, cases } = JSON.parse(readFileSync(path, "utf8"));
if (version !== 1 || cases.length === 0) {
  throw new Error("not a vector file of version 1");
}
let different = 0;
for (const [at, given] of cases.entries()) {
  const file = given.file === null ? null : files[given.file].parsed;
  const got = decide(file, argumentsOf(given));
  if (FIELDS.some((field) => got[field] !== given.expect[field])) {
    different += 1;
    if (different <= SHOWN) {
      console.error(`case ${at}: ${JSON.stringify(given)}\n  here: ${JSON.stringify(got)}`);
    }
  }
}
console.log(`${cases.length - different} of ${cases.length} agree`);
process.exitCode = different === 0 ? 0 : 1;
