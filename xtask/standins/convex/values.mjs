// Convex values in their JSON encoding: order, fields, filters and validators.

const RANKS = { undefined: 0, null: 1, bigint: 2, number: 3, boolean: 4, string: 5, bytes: 6, array: 7, object: 8 };

// The kind of an encoded value, and its key for comparisons.
function decode(value) {
  if (value === undefined || value === null) return [String(value), null];
  if (Array.isArray(value)) return ["array", value];
  if (typeof value !== "object") return [typeof value, value];
  const [key] = Object.keys(value);
  if (key === "$undefined") return ["undefined", null];
  if (key === "$integer") return ["bigint", Buffer.from(value.$integer, "base64").readBigInt64LE()];
  if (key === "$float") return ["number", Buffer.from(value.$float, "base64").readDoubleLE()];
  if (key === "$bytes") return ["bytes", Buffer.from(value.$bytes, "base64").toString("latin1")];
  return ["object", value];
}

// Upstream's total order: first by kind, then by value.
export function compareValues(left, right) {
  const [leftKind, a] = decode(left);
  const [rightKind, b] = decode(right);
  if (leftKind !== rightKind) return RANKS[leftKind] - RANKS[rightKind];
  if (leftKind === "array") {
    for (let index = 0; index < Math.min(a.length, b.length); index += 1) {
      const order = compareValues(a[index], b[index]);
      if (order !== 0) return order;
    }
    return a.length - b.length;
  }
  if (leftKind === "object") return compareValues(Object.entries(a).sort().flat(), Object.entries(b).sort().flat());
  return a === b ? 0 : a < b ? -1 : 1;
}

export function fieldOf(document, path) {
  return path.split(".").reduce((value, name) => (decode(value)[0] === "object" ? value[name] : undefined), document);
}

const arithmetic = {
  $add: (a, b) => a + b,
  $sub: (a, b) => a - b,
  $mul: (a, b) => a * b,
  $div: (a, b) => a / b,
  $mod: (a, b) => a % b,
};
const comparisons = {
  $eq: (order) => order === 0,
  $neq: (order) => order !== 0,
  $lt: (order) => order < 0,
  $lte: (order) => order <= 0,
  $gt: (order) => order > 0,
  $gte: (order) => order >= 0,
};

// Evaluates a filter expression for a document.
export function evaluate(expression, document) {
  const [[operator, operand]] = Object.entries(expression);
  if (operator === "$literal") return decode(operand)[0] === "undefined" ? undefined : operand;
  if (operator === "$field") return fieldOf(document, operand);
  if (operator === "$and") return operand.every((part) => evaluate(part, document) === true);
  if (operator === "$or") return operand.some((part) => evaluate(part, document) === true);
  if (operator === "$not") return evaluate(operand, document) !== true;
  if (operator === "$neg") return -evaluate(operand, document);
  const values = operand.map((part) => evaluate(part, document));
  if (operator in comparisons) return comparisons[operator](compareValues(...values));
  if (operator in arithmetic) return arithmetic[operator](...values);
  throw new Error(`the stand-in knows no ${operator}`);
}

const plainKinds = { null: "null", number: "number", float64: "number", bigint: "bigint", int64: "bigint", boolean: "boolean", string: "string", bytes: "bytes" };

// Why a value does not match a validator, or undefined. `isId(id, table)` checks ids.
export function complaint(validator, value, isId, path = "") {
  const where = path === "" ? "" : `Path: ${path}\n`;
  const described = (what) => `${where}${what}: ${JSON.stringify(value)}\nValidator: ${validatorText(validator)}`;
  const wrong = () => described("Value");
  const [kind] = decode(value);
  switch (validator.type) {
    case "any":
      return kind === "undefined" ? wrong() : undefined;
    case "literal":
      return compareValues(value, validator.value) === 0 ? undefined : wrong();
    case "id":
      return kind === "string" && isId(value, validator.tableName) ? undefined : wrong();
    case "union":
      return validator.value.some((one) => complaint(one, value, isId, path) === undefined) ? undefined : wrong();
    case "array":
      if (kind !== "array") return wrong();
      return firstOf(value.entries(), ([index, item]) => complaint(validator.value, item, isId, `${path}[${index}]`));
    case "record":
      if (kind !== "object") return wrong();
      return firstOf(Object.entries(value), ([key, item]) => {
        const at = `${path}.${key}`;
        return complaint(validator.keys, key, isId, at) ?? complaint(validator.values.fieldType, item, isId, at);
      });
    case "object": {
      if (kind !== "object") return wrong();
      const extra = Object.keys(value).find((name) => !(name in validator.value));
      if (extra !== undefined) return `Object contains extra field \`${extra}\` that is not in the validator.\n\n${described("Object")}`;
      return firstOf(Object.entries(validator.value), ([name, { fieldType, optional }]) => {
        const missing = decode(value[name])[0] === "undefined";
        if (missing && optional) return undefined;
        if (missing) return `Object is missing the required field \`${name}\`. Consider wrapping the field validator in \`v.optional(...)\` if this is expected.\n\n${described("Object")}`;
        return complaint(fieldType, value[name], isId, `${path}.${name}`);
      });
    }
    default:
      return kind === plainKinds[validator.type] ? undefined : wrong();
  }
}

// The first result of `check` that is not undefined.
function firstOf(items, check) {
  for (const item of items) {
    const found = check(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function validatorText(validator) {
  switch (validator.type) {
    case "literal":
      return `v.literal(${JSON.stringify(validator.value)})`;
    case "id":
      return `v.id("${validator.tableName}")`;
    case "union":
      return `v.union(${validator.value.map(validatorText).join(", ")})`;
    case "array":
      return `v.array(${validatorText(validator.value)})`;
    case "record":
      return `v.record(${validatorText(validator.keys)}, ${validatorText(validator.values.fieldType)})`;
    case "object": {
      const fields = Object.entries(validator.value).map(([name, { fieldType, optional }]) => `${name}: ${optional ? `v.optional(${validatorText(fieldType)})` : validatorText(fieldType)}`);
      return `v.object({${fields.join(", ")}})`;
    }
    default:
      return `v.${{ number: "float64", bigint: "int64" }[validator.type] ?? validator.type}()`;
  }
}

// The readable encoding of the public HTTP API: integers and bytes as strings.
export function cleanValue(value) {
  const [kind, plain] = decode(value);
  if (kind === "array") return value.map(cleanValue);
  if (kind === "bigint") return String(plain);
  if (kind === "bytes") return value.$bytes;
  if (kind === "number") return plain;
  if (kind === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, cleanValue(item)]));
  return value ?? null;
}
