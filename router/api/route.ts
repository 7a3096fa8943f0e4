import type { Request, Response } from 'express';
import type { QueryContext } from '../query/query-context.js';
import type { ParameterSpec, ParameterValues } from './parameters.js';

/** What a handler gets. */
export interface RouteCall {
  readonly request: Request;
  readonly response: Response;
  readonly values: ParameterValues;
  readonly context: QueryContext;
  readonly deadlineMsDefault: number;
  /** Aborts when the caller goes away. */
  readonly signal: AbortSignal;
}

/** One route of the query API: served by `app.ts`, described by `openapi.ts`, from the same data. */
export interface Route {
  /** OpenAPI form: `/v1/traces/{traceId}`. */
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly pathParameters: readonly ParameterSpec[];
  readonly parameters: readonly ParameterSpec[];
  /** Media type to the name of a schema in `openapi-schemas.ts`, or null for bytes. */
  readonly answers: Readonly<Record<string, string | null>>;
  /** Statuses of problems beyond 400 and 500. */
  readonly problems: readonly number[];
  handle(call: RouteCall): Promise<void>;
}

export function sendJson(response: Response, value: object): void {
  response.type('application/json').send(JSON.stringify(value));
}
