import { STATUS_CODES } from 'node:http';
import { SCHEMAS } from './openapi-schemas.js';
import type { ParameterSpec } from './parameters.js';
import type { Route } from './route.js';

/** The OpenAPI 3.1 document of the routes, made from the same data that serves them. */
export function openApiDocument(routes: readonly Route[]): object {
  const paths: Record<string, object> = {};
  for (const route of routes) paths[route.path] = { get: operation(route) };
  return {
    openapi: '3.1.0',
    info: {
      title: 'Meridian query API',
      version: '1',
      description:
        'Traces of all regions, at any router. Ids are lower-case hexadecimal; times are Unix nanoseconds as decimal strings. An answer that lacks a part says so: `complete` is false, `regions` tells which region, why and since when; the headers Meridian-Complete and Meridian-Missing-Regions say it for formats that have no place for it.',
    },
    paths,
    components: { schemas: SCHEMAS },
  };
}

function operation(route: Route): object {
  const content: Record<string, object> = {};
  for (const [mediaType, schema] of Object.entries(route.answers)) {
    content[mediaType] = schema === null ? {} : { schema: { $ref: `#/components/schemas/${schema}` } };
  }
  const responses: Record<string, object> = { 200: { description: 'OK', headers: headersOf(route), content } };
  for (const status of [...new Set([400, 405, 500, ...route.problems])].sort()) {
    responses[status] = {
      description: STATUS_CODES[status] ?? 'Problem',
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    };
  }
  return {
    operationId: route.operationId,
    summary: route.summary,
    parameters: [
      ...route.pathParameters.map((spec) => ({ ...parameter(spec, spec.name, 'path'), required: true })),
      ...route.parameters.flatMap((spec) => [
        parameter(spec, spec.name, 'query'),
        ...(spec.aliases ?? []).map((alias) => ({
          ...parameter({ ...spec, description: `The same as ${spec.name}` }, alias, 'query'),
        })),
      ]),
    ],
    responses,
  };
}

function parameter(spec: ParameterSpec, name: string, where: 'path' | 'query'): object {
  const schema = spec.repeatable ? { type: 'array', items: spec.schema } : spec.schema;
  return {
    name,
    in: where,
    description: spec.description,
    schema,
    ...(spec.repeatable ? { style: 'form', explode: true } : {}),
  };
}

function headersOf(route: Route): object {
  if (!route.parameters.some((p) => p.name === 'partial')) return {};
  return {
    'Meridian-Complete': { schema: { type: 'string', enum: ['true', 'false'] } },
    'Meridian-Missing-Regions': {
      schema: { type: 'string' },
      description: 'Separated by commas; absent where none is',
    },
  };
}
