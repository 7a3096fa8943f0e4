import { describe, expect, test } from 'vitest';
import { checkCommands, checkEndpoints, checkEngines, checkPorts, checkServices } from './compose/compose-checks.js';
import { COMPOSE_FILE, type Compose, type Files, findingsOf, readCompose, repository } from './compose/deployment.js';
import { checkImage } from './compose/image-checks.js';
import { checkMirrorMakers } from './compose/mirror-checks.js';
import { checkAlerts, checkDashboards, checkPrometheus, checkQueryFronts } from './compose/observability-checks.js';
import { parsePromql } from './compose/promql.js';
import { checkRoleConfigs } from './compose/role-configs.js';

/**
 * The compose file and all that it mounts against the code: what one names has to exist in the other. No container is started. The
 * second half breaks one thing at a time in a copy and expects to be told.
 */

const CHECKS: Readonly<Record<string, (files: Files, compose: Compose) => readonly string[]>> = {
  'services, images, volumes and networks': checkServices,
  'published ports': checkPorts,
  'versions and settings of engines': checkEngines,
  commands: checkCommands,
  'configurations of regions and routers': checkRoleConfigs,
  'endpoints.json': checkEndpoints,
  'properties of MirrorMaker': checkMirrorMakers,
  Prometheus: checkPrometheus,
  'alert rules': checkAlerts,
  dashboards: checkDashboards,
  'data sources and the Jaeger UI': checkQueryFronts,
  'the image': checkImage,
};

function allFindings(files: Files): readonly string[] {
  return findingsOf(() => {
    const compose = readCompose(files);
    return Object.values(CHECKS).flatMap((check) => findingsOf(() => check(files, compose)));
  });
}

describe('as it is', () => {
  for (const [name, check] of Object.entries(CHECKS)) {
    test(name, () => {
      expect(findingsOf(() => check(repository, readCompose(repository)))).toEqual([]);
    });
  }
});

interface Mutation {
  readonly file: string;
  /** A text, or a regular expression, that is in the file; its first occurrence is replaced. */
  readonly from: string | RegExp;
  readonly to: string;
  /** What has to be among the findings. */
  readonly finding: RegExp;
}

const compose = (from: string | RegExp, to: string, finding: RegExp): Mutation => ({
  file: COMPOSE_FILE,
  from,
  to,
  finding,
});
const inFolder = (file: string, from: string | RegExp, to: string, finding: RegExp): Mutation => ({
  file: `infra/compose/${file}`,
  from,
  to,
  finding,
});
const alerts = (from: string | RegExp, to: string, finding: RegExp) =>
  inFolder('prometheus/alerts.yml', from, to, finding);
const dashboard = (from: string | RegExp, to: string, finding: RegExp) =>
  inFolder('grafana/dashboards/ingest.json', from, to, finding);

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'an image without a tag': compose('redis:7.4.7-alpine', 'redis', /redis has no pinned tag/),
  'an image by latest': compose('grafana/grafana:12.4.2', 'grafana/grafana:latest', /latest has no pinned tag/),
  'a tag that moves': compose('nginx:1.28.1-alpine', 'nginx:1-alpine', /has no pinned tag/),
  'a MirrorMaker that does not wait': compose(
    /( {6}kafka-us-west-2: \{ condition: service_healthy \}\n) {6}mirror-prepare-us-west-2: .*\n/,
    '$1',
    /does not wait for mirror-prepare-us-west-2/,
  ),
  'a MirrorMaker prepared for another region': compose(
    '--target, us-west-2',
    '--target, eu-west-1',
    /mirror-prepare-us-west-2: works for another region/,
  ),
  'waiting for the health of what ends by itself': compose(
    'mirror-prepare-us-east-1: { condition: service_completed_successfully',
    'mirror-prepare-us-east-1: { condition: service_healthy',
    /mirror-prepare-us-east-1 should be service_completed_successfully/,
  ),
  'another log of MirrorMaker': inFolder(
    'mirror-maker-log4j.properties',
    'rootLogger=WARN',
    'rootLogger=DEBUG',
    /mirrorMakerLogging/,
  ),
  'another Elasticsearch than the tested one': compose(
    'elasticsearch:8.19.21',
    'elasticsearch:8.18.0',
    /elasticsearch-\S+: is not 8\.19\.21/,
  ),
  'another Kafka than the tested one': compose('apache/kafka:3.9.2', 'apache/kafka:3.8.1', /kafka-\S+: is not 3\.9\.2/),
  'a misspelt key': compose('    profiles: [workload]', '    profile: [workload]', /workload: Unrecognized key/),
  'no health check': compose(
    /healthcheck:(\n {4}test: \[CMD, bash)/,
    'x-healthcheck:$1',
    /kafka-us-east-1\.healthcheck/,
  ),
  'no restart policy': compose(/ {2}restart: unless-stopped\n {2}mem_limit: 1g/, '  mem_limit: 1g', /restart/),
  'depends_on what is not there': compose(
    'redis-us-east-1: { condition',
    'redis-us-east-2: { condition',
    /there is no redis-us-east-2/,
  ),
  'a network that is not declared': compose(
    'networks: [wan, ops]',
    'networks: [wan, opps]',
    /network opps is not declared/,
  ),
  'Elasticsearch on wan': compose(
    /(elasticsearch\/data"\]\n {4}networks: \[us-east-1)\]/,
    '$1, wan]',
    /elasticsearch-us-east-1: must not be on wan/,
  ),
  'Redis on the network of another region': compose(
    /(redis-us-west-2:\/data"\]\n {4}networks: \[us-west-2)\]/,
    '$1, eu-west-1]',
    /redis-us-west-2: is on the network of eu-west-1/,
  ),
  'a way to the outside on wan': compose('wan: { internal: true }', 'wan: {}', /wan leads to the outside/),
  'a volume for two writers': compose(
    '["redis-us-west-2:/data"]',
    '["redis-us-east-1:/data"]',
    /volume redis-us-east-1 is written by 2/,
  ),
  'a file that is not there': compose(
    'infra/compose/us-west-2/router.json',
    'infra/compose/us-west-2/rooter.json',
    /rooter\.json/,
  ),
  'a file that may be written to': compose(
    'prometheus/alerts.yml:ro',
    'prometheus/alerts.yml',
    /not mounted read-only/,
  ),
  'a port on every address': compose('"127.0.0.1:4317:4317"', '"4317:4317"', /4317:4317 is not on loopback/),
  'a port to nowhere': compose('"127.0.0.1:4317:4317"', '"127.0.0.1:4317:4319"', /nothing listens on 4319/),
  'a port that was not promised': compose(
    '"127.0.0.1:14317:4317"',
    '"127.0.0.1:24317:4317"',
    /region-us-west-2: publishes/,
  ),
  'an unknown command': compose('[region, --config', '[regions, --config', /no command "meridian regions"/),
  'an unknown flag': compose('[router, --config', '[router, --conf', /has no --conf/),
  'another version of the image': compose('image: meridian:0.1.0', 'image: meridian:9.9.9', /is not meridian:/),
  'a Redis that evicts': compose('- noeviction', '- allkeys-lru', /maxmemory-policy is allkeys-lru/),
  'a Redis with small listpacks': compose('- "512"', '- "128"', /hash-max-listpack-entries is 128/),
  'a broker that makes topics': compose(
    'KAFKA_AUTO_CREATE_TOPICS_ENABLE: "false"',
    'KAFKA_AUTO_CREATE_TOPICS_ENABLE: "true"',
    /makes topics/,
  ),
  'a broker under another name': compose(
    'PLAINTEXT://kafka-us-west-2:9092',
    'PLAINTEXT://localhost:9092',
    /nothing listens on kafka-us-west-2:9092/,
  ),
  'two clusters with one id': compose('bWVyaWRpYW4gdXN3ZXN0Mg', 'bWVyaWRpYW4gdXNlYXN0MQ', /same id/),
  'an unknown option of a region': inFolder(
    'us-east-1/region.json',
    '"redisUrl"',
    '"redisUri"',
    /unknown key "redisUri"/,
  ),
  'a value that the parser refuses': inFolder('us-east-1/region.json', '"kafka",', '"pulsar",', /not one of/),
  'an unknown option of a router': inFolder('eu-west-1/router.json', '"graceMs"', '"graceMS"', /unknown key "graceMS"/),
  'a fleet that differs': inFolder(
    'us-west-2/router.json',
    '"standby": "us-west-2"',
    '"standby": "eu-west-1"',
    /not the same/,
  ),
  'a fleet that the parser refuses': inFolder(
    'us-east-1/region.json',
    '"standby": "us-west-2"',
    '"standby": "mars"',
    /mars/,
  ),
  'a region API that is elsewhere': inFolder(
    'us-east-1/region.json',
    'region-eu-west-1:7001',
    'region-eu-west-1:7009',
    /nothing listens on region-eu-west-1:7009/,
  ),
  'the index of another region': inFolder(
    'us-east-1/router.json',
    'redis-us-east-1:',
    'redis-us-west-2:',
    /reads another index/,
  ),
  'more copies than brokers': inFolder(
    'us-east-1/region.json',
    '"kafkaReplicationFactor": 1',
    '"kafkaReplicationFactor": 3',
    /more than its brokers/,
  ),
  'listening to itself only': inFolder('us-east-1/region.json', '"0.0.0.0"', '"127.0.0.1"', /nobody outside/),
  'other properties of MirrorMaker': inFolder(
    'us-east-1/mirror-maker.properties',
    'auto.offset.reset = none',
    'auto.offset.reset = latest',
    /mirrorMakerProperties/,
  ),
  'an address on the host that is not published': inFolder(
    'endpoints/host/endpoints.json',
    '127.0.0.1:26686',
    '127.0.0.1:26687',
    /endpoints \(host\): http of router-us-west-2/,
  ),
  'a region that is not scraped': inFolder(
    'prometheus/prometheus.yml',
    'region-us-west-2:7002',
    'region-us-east-1:7002',
    /region-us-west-2:7002 is not scraped/,
  ),
  'a scrape of nothing': inFolder(
    'prometheus/prometheus.yml',
    'storage-exporter:9100',
    'storage-exporter:9101',
    /nothing listens on storage-exporter:9101/,
  ),
  'rules that are not mounted': inFolder(
    'prometheus/prometheus.yml',
    '/etc/prometheus/alerts.yml',
    '/etc/prometheus/rules.yml',
    /rules\.yml is not mounted/,
  ),
  'an alert on a metric of nobody': alerts(
    'meridian_collector_ack_seconds_bucket',
    'meridian_collector_ack_ms_bucket',
    /nothing exports meridian_collector_ack_ms_bucket/,
  ),
  'an alert by a label of nobody': alerts(
    'sum by (home, code) (rate(meridian_collector_append',
    'sum by (home, kind) (rate(meridian_collector_append',
    /no series of the sum has a label "kind"/,
  ),
  'an alert on a label that the metric lacks': alerts(
    'meridian_router_requests_total{code=~"5.."}',
    'meridian_router_requests_total{status=~"5.."}',
    /has no label "status"/,
  ),
  'a text that names a label that is gone': alerts(
    'Group {{ $labels.group }}',
    'Group {{ $labels.consumer }}',
    /no label "consumer"/,
  ),
  'an expression with a bracket too few': alerts(
    'rate(meridian_store_bulk_rejections_total[5m]))',
    'rate(meridian_store_bulk_rejections_total[5m])',
    /"\)" was expected/,
  ),
  'an unknown function': alerts(
    'histogram_quantile(0.99',
    'histogram_percentile(0.99',
    /no function "histogram_percentile"/,
  ),
  'a rate without a range': alerts('append_failures_total[5m]', 'append_failures_total', /rate\(\) takes range first/),
  'a quantile without le': alerts(
    'sum by (home, le) (rate(meridian_store_write',
    'sum by (home) (rate(meridian_store_write',
    /wants buckets summed by le/,
  ),
  'a runbook that is not there': alerts(
    'summary: ',
    'runbook: runbooks/none.md\n          summary: ',
    /runbooks\/none\.md does not exist/,
  ),
  'an alert that is gone': alerts('alert: StorageFull', 'alert: StorageFullish', /there is no alert StorageFull/),
  'two alerts of one name': alerts('alert: RouterDown', 'alert: RegionDown', /there are two/),
  'an unknown topic in a query': inFolder(
    'grafana/dashboards/index.json',
    'topic=\\"trace-metadata\\"',
    'topic=\\"trace_metadata\\"',
    /there is no topic trace_metadata/,
  ),
  'an unknown route in a query': inFolder(
    'grafana/dashboards/router.json',
    '/v1/traces/{traceId}',
    '/v1/traces/{id}',
    /the router has no route/,
  ),
  'a dashboard with the uid of another': dashboard('"meridian-ingest"', '"meridian-store"', /is also that of/),
  'a panel that asks for nothing': dashboard(/"targets": \[[\s\S]*?\n {6}\]/, '"targets": []', /asks for nothing/),
  'a data source that is not there': dashboard(
    '"uid": "prometheus"',
    '"uid": "mimir"',
    /no prometheus data source "mimir"/,
  ),
  'a variable that is not there': dashboard('home=~\\"$home\\"', 'home=~\\"$region\\"', /there is no \$region/),
  'panels on top of each other': dashboard('"x": 6', '"x": 5', /lies on another/),
  'a data source to nowhere': inFolder(
    'grafana/provisioning/datasources/datasources.yml',
    'router-eu-west-1:16686',
    'router-eu-west-1:16685',
    /nothing listens on router-eu-west-1:16685/,
  ),
  'an upstream to nowhere': inFolder(
    'jaeger-ui/nginx.conf',
    'router-us-west-2:16686',
    'router-us-west-3:16686',
    /router-us-west-3:16686 is no service/,
  ),
  'a proxy to no upstream': inFolder(
    'jaeger-ui/nginx.conf',
    'proxy_pass http://routers',
    'proxy_pass http://router',
    /there is no upstream router$/,
  ),
  'a file that the image lacks': inFolder(
    'Dockerfile',
    'COPY global ./global',
    'COPY globe ./globe',
    /globe does not exist/,
  ),
  'a file that is ignored': {
    file: '.dockerignore',
    from: '!router\n',
    to: '',
    finding: /keeps router from the image/,
  },
  'an image that runs as root': inFolder('Dockerfile', 'USER meridian', 'USER root', /runs as root/),
  'an image without the flag': inFolder('Dockerfile', '"--initial-old-space-size=256", ', '', /entry point/),
  'a document that forgets a port': {
    file: 'docs/deploying.md',
    from: /\b8080\b/g,
    to: '80',
    finding: /does not tell port 8080/,
  },
};

describe('broken', () => {
  for (const [name, { file, from, to, finding }] of Object.entries(MUTATIONS)) {
    test(name, () => {
      const text = repository.text(file);
      const broken = text.replace(from, to);
      expect(broken, `the mutation finds nothing to change in ${file}`).not.toBe(text);
      const files: Files = { ...repository, text: (path) => (path === file ? broken : repository.text(path)) };
      expect(allFindings(files).join('\n')).toMatch(finding);
    });
  }
});

describe('PromQL', () => {
  test.each([
    'up',
    'up{job="x"} == 0',
    'sum by (a, b) (rate(c_total{d=~"e|f",g!="h"}[5m])) / sum(rate(c_total[5m] offset 10m)) > 0.01',
    'sum(rate(c_total[1h30m])) by (a) and on (a) group_left (b) d unless e',
    'histogram_quantile(0.99, sum by (le) (rate(x_bucket[$__rate_interval])))',
    'max_over_time((1 - a / b)[1h:5m])',
    '-2 ^ 3 * time() > bool vector(1)',
  ])('takes %s', (text) => {
    expect(parsePromql(text).selectors.every(({ metric }) => metric !== '')).toBe(true);
  });

  test.each([
    ['', /a value was expected/],
    ['sum(up', /"\)" was expected/],
    ['up)', /one too many/],
    ['up[5m]', /a range is no result/],
    ['rate(up)', /takes range/],
    ['rate(up[five])', /no duration/],
    ['up{job=x}', /no matcher/],
    ['up{job="x}', /unexpected/],
    ['ratio(up)', /no function/],
    ['up and 1', /takes no number/],
    ['sum by (5) (up)', /is no label/],
    ['sum(1)', /about series/],
  ] as readonly (readonly [string, RegExp])[])('refuses %s', (text, problem) => {
    expect(() => parsePromql(text)).toThrow(problem);
  });

  test('tells metrics, matchers and groupings', () => {
    const query = parsePromql('sum by (a) (x{b="c"}) + y');
    expect(query.selectors).toEqual([
      { metric: 'x', matchers: [{ label: 'b', op: '=', value: 'c' }] },
      { metric: 'y', matchers: [] },
    ]);
    expect(query.groupings).toEqual([{ labels: ['a'], selectors: [query.selectors[0]] }]);
  });
});
