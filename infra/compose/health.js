// A container's health check: exit code 0 where the URL answers with a status from 200 to 299 within the limit (milliseconds, 2000), else 1 and why.
const [url, limitMs = '2000'] = process.argv.slice(2);
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(Number(limitMs)) });
  await response.body?.cancel();
  if (response.ok) process.exit(0);
  console.error(`${url}: status ${response.status}`);
} catch (error) {
  console.error(`${url}: ${error.cause?.message ?? error.message}`);
}
process.exit(1);
