import { describe, expect, test } from 'vitest';
import { corsHeaders, preflightHeaders } from './cors.js';

const PAGE = 'https://shop.example';

describe('cross-origin requests', () => {
  test('no origin is allowed unless it is listed, exactly', () => {
    expect(corsHeaders({ allowedOrigins: [] }, PAGE)).toBeNull();
    expect(corsHeaders({ allowedOrigins: ['https://shop.example.evil', 'http://shop.example'] }, PAGE)).toBeNull();
    expect(corsHeaders({ allowedOrigins: [PAGE] }, undefined)).toBeNull();
    expect(preflightHeaders({ allowedOrigins: [] }, PAGE, 'content-type')).toBeNull();
  });

  test('a listed origin is answered by name, and caches are told', () => {
    expect(corsHeaders({ allowedOrigins: ['https://a.example', PAGE] }, PAGE)).toEqual({
      'Access-Control-Allow-Origin': PAGE,
      Vary: 'Origin',
    });
    expect(corsHeaders({ allowedOrigins: ['*'] }, PAGE)).toEqual({ 'Access-Control-Allow-Origin': '*' });
  });

  test('a preflight learns the method and the headers; credentials are never allowed', () => {
    const headers = preflightHeaders({ allowedOrigins: [PAGE] }, PAGE, 'content-type,x-tenant');
    expect(headers).toMatchObject({
      'Access-Control-Allow-Methods': 'POST',
      'Access-Control-Allow-Headers': 'content-type,x-tenant',
    });
    expect(headers).not.toHaveProperty('Access-Control-Allow-Credentials');
    expect(preflightHeaders({ allowedOrigins: [PAGE] }, PAGE, undefined)).toMatchObject({
      'Access-Control-Allow-Headers': 'content-type, content-encoding',
    });
  });
});
