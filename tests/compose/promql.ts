/**
 * A parser of the part of PromQL that alert rules and dashboards use (https://prometheus.io/docs/prometheus/latest/querying/basics/): enough to
 * refuse what Prometheus would refuse, and to tell which metrics and labels a query names. It keeps no tree.
 */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly { readonly label: string; readonly op: string; readonly value: string }[];
}

export interface Query {
  readonly selectors: readonly Selector[];
  /** `by (...)` and `without (...)`, each with the selectors that it is about. */
  readonly groupings: readonly { readonly labels: readonly string[]; readonly selectors: readonly Selector[] }[];
}

type Shape = 'scalar' | 'instant' | 'range';

const AGGREGATIONS = 'sum min max avg count stddev stdvar group topk bottomk quantile count_values'.split(' ');
/** Function: the shape of its first argument. */
const FUNCTIONS: ReadonlyMap<string, Shape | 'none'> = new Map([
  ...'rate increase irate delta deriv changes resets avg_over_time max_over_time min_over_time sum_over_time count_over_time last_over_time'
    .split(' ')
    .map((name) => [name, 'range'] as const),
  ...'abs absent ceil floor clamp_max clamp_min label_replace round sort sort_desc timestamp'
    .split(' ')
    .map((name) => [name, 'instant'] as const),
  ['histogram_quantile', 'scalar'],
  ['vector', 'scalar'],
  ['time', 'none'],
]);
const PRECEDENCE: readonly (readonly string[])[] = [
  ['or'],
  ['and', 'unless'],
  ['==', '!=', '<=', '>=', '<', '>'],
  ['+', '-'],
  ['*', '/', '%'],
  ['^'],
];
const SET_OPERATIONS = ['or', 'and', 'unless'];
const TOKEN =
  /\s*(?:((?:\d+(?:ms|[smhdwy]))+(?![\w.])|\$__rate_interval|\$__interval)|(\d+(?:\.\d+)?(?:e[+-]?\d+)?)|("(?:[^"\\]|\\.)*")|([a-zA-Z_][\w:]*)|(=~|!~|==|!=|<=|>=|[-+*/%^<>=(){}[\],:]))/y;

interface Token {
  readonly kind: 'duration' | 'number' | 'string' | 'name' | 'sign' | 'end';
  readonly text: string;
}

/** Throws an Error that says what is wrong and where. */
export function parsePromql(text: string): Query {
  return new Parser(text).parse();
}

class Parser {
  readonly #tokens: readonly Token[];
  #next = 0;
  readonly #selectors: Selector[] = [];
  readonly #groupings: { labels: readonly string[]; selectors: readonly Selector[] }[] = [];

  constructor(text: string) {
    this.#tokens = tokens(text);
  }

  parse(): Query {
    if (this.#expression(0) === 'range') throw this.#error('a range is no result');
    if (this.#peek().kind !== 'end') throw this.#error(`"${this.#peek().text}" is one too many`);
    return { selectors: this.#selectors, groupings: this.#groupings };
  }

  #expression(level: number): Shape {
    const operators = PRECEDENCE[level];
    if (!operators) return this.#unary();
    let left = this.#expression(level + 1);
    while (operators.includes(this.#peek().text) && this.#peek().kind !== 'string') {
      const { text: operator } = this.#take();
      this.#accept('bool');
      if (this.#accept('on') || this.#accept('ignoring')) this.#labels();
      if (this.#accept('group_left') || this.#accept('group_right')) if (this.#peek().text === '(') this.#labels();
      const right = this.#expression(level + 1);
      if (left === 'range' || right === 'range') throw this.#error(`"${operator}" takes no range`);
      if (SET_OPERATIONS.includes(operator) && (left === 'scalar' || right === 'scalar')) {
        throw this.#error(`"${operator}" takes no number`);
      }
      left = left === 'instant' || right === 'instant' ? 'instant' : 'scalar';
    }
    return left;
  }

  #unary(): Shape {
    if (this.#accept('-') || this.#accept('+')) return this.#unary();
    let shape = this.#primary();
    if (this.#accept('[')) {
      if (shape !== 'instant') throw this.#error('only what changes over time has a range');
      this.#duration();
      if (this.#accept(':') && this.#peek().kind === 'duration') this.#duration();
      this.#expect(']');
      shape = 'range';
    }
    if (this.#accept('offset')) this.#duration();
    return shape;
  }

  #primary(): Shape {
    const token = this.#take();
    if (token.kind === 'number' || token.kind === 'string') return 'scalar';
    if (token.text === '(') {
      const shape = this.#expression(0);
      this.#expect(')');
      return shape;
    }
    if (token.kind !== 'name') throw this.#error(`a value was expected, not "${token.text}"`);
    const isCall = this.#peek().text === '(';
    if (AGGREGATIONS.includes(token.text) && (isCall || ['by', 'without'].includes(this.#peek().text))) {
      return this.#aggregation(token.text);
    }
    return isCall ? this.#call(token.text) : this.#selector(token.text);
  }

  #aggregation(name: string): Shape {
    const first = this.#selectors.length;
    let labels = this.#grouping();
    const shapes = this.#arguments();
    labels ??= this.#grouping();
    if (shapes.at(-1) !== 'instant') throw this.#error(`${name}() is about series`);
    this.#groupings.push({ labels: labels ?? [], selectors: this.#selectors.slice(first) });
    return 'instant';
  }

  #grouping(): readonly string[] | undefined {
    return this.#accept('by') || this.#accept('without') ? this.#labels() : undefined;
  }

  #call(name: string): Shape {
    const wanted = FUNCTIONS.get(name);
    if (!wanted) throw this.#error(`there is no function "${name}"`);
    const groupings = this.#groupings.length;
    const shapes = this.#arguments();
    if ((shapes[0] ?? 'none') !== wanted) throw this.#error(`${name}() takes ${wanted} first`);
    if (name === 'histogram_quantile') {
      const last = this.#groupings.at(-1);
      if (shapes[1] !== 'instant' || this.#groupings.length === groupings || !last?.labels.includes('le')) {
        throw this.#error('histogram_quantile() wants buckets summed by le');
      }
    }
    return name === 'time' ? 'scalar' : 'instant';
  }

  #selector(metric: string): Shape {
    const matchers: { label: string; op: string; value: string }[] = [];
    if (this.#accept('{')) {
      while (!this.#accept('}')) {
        const label = this.#take();
        const op = this.#take();
        const value = this.#take();
        if (label.kind !== 'name' || !['=', '!=', '=~', '!~'].includes(op.text) || value.kind !== 'string') {
          throw this.#error(`${label.text}${op.text}${value.text} is no matcher`);
        }
        matchers.push({ label: label.text, op: op.text, value: value.text.slice(1, -1) });
        if (this.#peek().text !== '}') this.#expect(',');
      }
    }
    this.#selectors.push({ metric, matchers });
    return 'instant';
  }

  #arguments(): Shape[] {
    const shapes: Shape[] = [];
    this.#expect('(');
    if (this.#accept(')')) return shapes;
    do shapes.push(this.#expression(0));
    while (this.#accept(','));
    this.#expect(')');
    return shapes;
  }

  #labels(): readonly string[] {
    const labels: string[] = [];
    this.#expect('(');
    while (!this.#accept(')')) {
      const label = this.#take();
      if (label.kind !== 'name') throw this.#error(`"${label.text}" is no label`);
      labels.push(label.text);
      if (this.#peek().text !== ')') this.#expect(',');
    }
    return labels;
  }

  #duration(): void {
    const { kind, text } = this.#take();
    if (kind !== 'duration') throw this.#error(`"${text}" is no duration`);
  }

  #peek(): Token {
    return this.#tokens[this.#next]!;
  }

  #take(): Token {
    const token = this.#peek();
    if (token.kind !== 'end') this.#next += 1;
    return token;
  }

  #accept(text: string): boolean {
    const token = this.#peek();
    const found = token.text === text && token.kind !== 'string';
    if (found) this.#next += 1;
    return found;
  }

  #expect(text: string): void {
    if (!this.#accept(text)) throw this.#error(`"${text}" was expected, not "${this.#peek().text}"`);
  }

  #error(problem: string): Error {
    const before = this.#tokens
      .slice(0, this.#next)
      .map((token) => token.text)
      .join(' ');
    return new Error(`${problem}, after: ${before.slice(-60)}`);
  }
}

function tokens(text: string): readonly Token[] {
  const found: Token[] = [];
  const kinds = ['duration', 'number', 'string', 'name', 'sign'] as const;
  let at = 0;
  while (text.slice(at).trim() !== '') {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(text);
    if (!match) throw new Error(`unexpected: ${text.slice(at, at + 20)}`);
    const index = kinds.findIndex((_, i) => match[i + 1] !== undefined);
    found.push({ kind: kinds[index]!, text: match[index + 1]! });
    at = TOKEN.lastIndex;
  }
  return [...found, { kind: 'end', text: 'the end' }];
}
