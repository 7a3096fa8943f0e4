import { createHmac } from 'node:crypto';
import type { OfficialAnyValue, OfficialKeyValue } from './official-otlp.js';
import type { Row } from './rows.js';

/** Redaction done the plain way, on objects and with regular expressions. */

export interface ReferenceRules {
  readonly dropKeys: readonly string[];
  readonly maskKeys: readonly string[];
  readonly maskSecret: Buffer;
}

export function redactRow(row: Row, rules: ReferenceRules): Row {
  const attributes = (list: readonly OfficialKeyValue[], path = ''): OfficialKeyValue[] =>
    list.flatMap((attribute) => {
      const own = path === '' ? attribute.key : `${path}.${attribute.key}`;
      const named = (keys: readonly string[]): boolean => keys.includes(attribute.key) || keys.includes(own);
      if (named(rules.dropKeys)) return [];
      if (named(rules.maskKeys)) {
        const text = attribute.value === null ? null : scalarText(attribute.value);
        if (text === null || /^hmac:[0-9a-f]{32}$/.test(text)) return [attribute];
        const hash = createHmac('sha256', rules.maskSecret).update(text).digest('hex');
        const stringValue = `hmac:${hash.substring(0, 32)}`;
        return [{ key: attribute.key, value: { stringValue, value: 'stringValue' } }];
      }
      return [{ key: redactString(attribute.key), value: attribute.value && value(attribute.value, own) }];
    });
  const value = (given: OfficialAnyValue, path: string): OfficialAnyValue => {
    if (given.value === 'stringValue') return { ...given, stringValue: redactString(given.stringValue!) };
    if (given.value === 'arrayValue') {
      return { ...given, arrayValue: { values: given.arrayValue!.values.map((item) => value(item, path)) } };
    }
    if (given.value === 'kvlistValue') {
      return { ...given, kvlistValue: { values: attributes(given.kvlistValue!.values, path) } };
    }
    return given;
  };
  const { resource, scope, span } = row;
  return {
    resource: resource && { ...resource, attributes: attributes(resource.attributes) },
    resourceSchemaUrl: redactString(row.resourceSchemaUrl),
    scope: scope && {
      ...scope,
      name: redactString(scope.name),
      version: redactString(scope.version),
      attributes: attributes(scope.attributes),
    },
    scopeSchemaUrl: redactString(row.scopeSchemaUrl),
    span: {
      ...span,
      name: redactString(span.name),
      attributes: attributes(span.attributes),
      events: span.events.map((event) => ({
        ...event,
        name: redactString(event.name),
        attributes: attributes(event.attributes),
      })),
      links: span.links.map((link) => ({ ...link, attributes: attributes(link.attributes) })),
      status: span.status && { ...span.status, message: redactString(span.status.message) },
    },
  };
}

function scalarText(value: OfficialAnyValue): string | null {
  if (value.value === 'stringValue') return value.stringValue!;
  if (value.value === 'intValue') return value.intValue!;
  if (value.value === 'doubleValue') return String(value.doubleValue);
  if (value.value === 'boolValue') return String(value.boolValue);
  return null;
}

const LOCAL = "[A-Za-z0-9._%+'!#$*^`{|}~\\u0080-\\u00ff-]";
const DOMAIN = '[A-Za-z0-9.\\u0080-\\u00ff-]';
const ENDING = '[A-Za-z0-9\\u0080-\\u00ff]';
const LETTER = '[A-Za-z\\u0080-\\u00ff]';
const EMAIL = new RegExp(`${LOCAL}+(?:@|%40)${DOMAIN}+\\.${LETTER}{2}(?:${DOMAIN}*${ENDING})?`, 'g');
const BEARER = /bearer(?:[\t +:=]|%20)+[-A-Za-z0-9._~+/%]+=*/gi;

/** One character per byte of UTF-8, as the patterns are defined on bytes. */
export function redactString(text: string): string {
  const latin1 = Buffer.from(text).toString('latin1');
  const redacted = cards(latin1.replace(BEARER, '[redacted:bearer]').replace(EMAIL, '[redacted:email]'));
  return Buffer.from(redacted, 'latin1').toString();
}

export function luhn(digits: string): boolean {
  const sum = [...digits].reverse().reduce((total, digit, i) => {
    const doubled = Number(digit) * (i % 2 === 1 ? 2 : 1);
    return total + (doubled > 9 ? doubled - 9 : doubled);
  }, 0);
  return sum % 10 === 0 && /[1-9]/.test(digits);
}

function cards(text: string): string {
  const groups = [...text.matchAll(/[0-9]+/g)].map((match) => ({
    from: match.index,
    to: match.index + match[0].length,
  }));
  let result = '';
  let copied = 0;
  for (let i = 0; i < groups.length; i++) {
    for (let j = groups.length - 1; j >= i; j--) {
      const { from } = groups[i]!;
      const { to } = groups[j]!;
      const candidate = text.slice(from, to);
      if (!/^[0-9]+(?:[ -][0-9]+)*$/.test(candidate)) continue;
      const digits = candidate.replace(/[ -]/g, '');
      if (!/^[2-6]/.test(digits) || digits.length < 13 || digits.length > 19 || !luhn(digits)) continue;
      const glued = `${/[0-9A-Za-z]{0,64}$/.exec(text.slice(0, from))![0]}${/^[0-9A-Za-z]{0,64}/.exec(text.slice(to))![0]}`;
      if (glued !== '' && /^[0-9A-Fa-f]+$/.test(glued)) continue;
      result += `${text.slice(copied, from)}[redacted:card]`;
      copied = to;
      i = j;
      break;
    }
  }
  return result + text.slice(copied);
}
