// Words in Chinese and English. The choice follows the browser and is remembered once made.

const words = {
  brand: ['模拟手机', 'Phone'],
  title: ['鸿雁 · 模拟手机', 'Hongyan · simulated phone'],
  language: ['English', '中文'],
  'language.label': ['切换到英文', 'Switch to Chinese'],
  hint: ['模拟的微信平台：每条消息都作为签名的回调发出，{0} 秒断开，最多投递 {1} 次。', 'A simulated WeChat platform: every message leaves as a signed callback, is cut off after {0} s and delivered up to {1} times.'],
  'account.choose': ['公众号', 'Official Account'],
  'account.name': ['鸿雁演示号', 'Hongyan demo'],
  'users.label': ['用户', 'Users'],
  'users.add': ['添加用户', 'Add a user'],
  'users.none': ['还没有消息', 'No messages yet'],
  'users.notFollowing': ['未关注', 'Not following'],
  'users.unread': ['{0} 条未读', '{0} unread'],
  user: ['用户{0}', 'User {0}'],
  back: ['返回用户列表', 'Back to the users'],
  'timeline.label': ['聊天记录', 'Conversation'],
  follow: ['关注公众号', 'Follow'],
  unfollow: ['取消关注', 'Unfollow'],
  'welcome.text': ['关注后即可聊天。关注本身也是一次回调。', 'Follow to chat. Following is itself a callback.'],
  'welcome.scan': ['扫描带参数的二维码关注', 'Follow by scanning a QR code'],
  'live.down': ['连接断开，正在重连…', 'Disconnected, reconnecting…'],
  'menu.show': ['切换到菜单', 'Show the menu'],
  'menu.hide': ['切换到键盘', 'Show the keyboard'],
  'menu.label': ['公众号菜单', 'Account menu'],
  'menu.help': ['帮助', 'Help'],
  'menu.price': ['价格', 'Price'],
  'menu.more': ['更多', 'More'],
  'menu.service': ['人工客服', 'Service'],
  'menu.weather': ['天气', 'Weather'],
  'menu.site': ['官网', 'Website'],
  'text.label': ['消息', 'Message'],
  'text.placeholder': ['发消息', 'Message'],
  more: ['更多内容', 'More to send'],
  send: ['发送', 'Send'],
  cancel: ['取消', 'Cancel'],
  'panel.sample': ['示例图片', 'Sample'],
  'panel.upload': ['本地图片', 'Picture'],
  'panel.voice': ['语音', 'Voice'],
  'panel.video': ['视频', 'Video'],
  'panel.location': ['位置', 'Location'],
  'panel.link': ['链接', 'Link'],
  'panel.scan': ['扫一扫', 'Scan'],
  'panel.report': ['上报位置', 'Report'],
  'field.latitude': ['纬度', 'Latitude'],
  'field.longitude': ['经度', 'Longitude'],
  'field.label': ['地址', 'Address'],
  'field.title': ['标题', 'Title'],
  'field.desc': ['描述', 'Description'],
  'field.url': ['网址', 'Address'],
  'field.scene': ['场景值', 'Scene'],
  'sample.address': ['天安门广场', 'Tiananmen Square'],
  'sample.title': ['一篇文章', 'An article'],
  'sample.desc': ['鸿雁传书', 'A wild goose carries letters'],
  'kind.image': ['[图片]', '[Picture]'],
  'kind.voice': ['[语音]', '[Voice]'],
  'kind.video': ['[视频]', '[Video]'],
  'kind.shortvideo': ['[小视频]', '[Video]'],
  'kind.location': ['[位置]', '[Location]'],
  'kind.link': ['[链接]', '[Link]'],
  'kind.music': ['[音乐]', '[Music]'],
  'kind.news': ['[图文]', '[Article]'],
  'kind.transfer_customer_service': ['[转人工客服]', '[To customer service]'],
  'said.subscribe': ['你关注了公众号', 'You followed the account'],
  'said.subscribe.scene': ['你扫码关注了公众号，场景 {0}', 'You followed by QR code, scene {0}'],
  'said.unsubscribe': ['你取消了关注', 'You unfollowed the account'],
  'said.scan': ['你扫了二维码，场景 {0}', 'You scanned a QR code, scene {0}'],
  'said.click': ['你点击了菜单 {0}', 'You tapped the menu {0}'],
  'said.view': ['你打开了 {0}', 'You opened {0}'],
  'said.location': ['你的位置已上报：{0}', 'Your position was reported: {0}'],
  'said.other': ['事件 {0}', 'Event {0}'],
  banner: ['该公众号提供的服务出现故障，请稍后再试', 'The service of this Official Account is unavailable. Please try again later.'],
  transfer: ['会话已转给人工客服', 'The conversation went to customer service'],
  'picture.gone': ['图片已过期', 'The picture is gone'],
  'picture.id': ['素材 {0}', 'Media {0}'],
  'trail.first': ['等待投递', 'Waiting'],
  'trail.delivering': ['第 {0}/{1} 次投递', 'Delivery {0}/{1}'],
  'trail.between': ['稍后第 {0}/{1} 次投递', 'Next delivery {0}/{1}'],
  'trail.answered': ['已回复 · {0}', 'Answered · {0}'],
  'trail.silent': ['不回复 · {0}', 'No reply · {0}'],
  'trail.banner': ['故障', 'Failed'],
  'trail.ended': ['已结束', 'Ended'],
  'trail.attempt': ['第 {0} 次', 'No. {0}'],
  'trail.deliveries': ['投递', 'Deliveries'],
  'trail.stages': ['引擎', 'Engine'],
  'trail.noStages': ['后端没有提供轨迹', 'The back end tells no trace'],
  'outcome.': ['等待回应…', 'Waiting for the reply…'],
  'outcome.answered': ['收到回复', 'Answered'],
  'outcome.silent': ['收到 success', 'Got success'],
  'outcome.cutoff': ['没有及时回应，断开', 'No reply in time, cut off'],
  'outcome.refused connection': ['连接失败', 'Connection failed'],
  'outcome.bad status': ['状态码 {0}', 'Status {0}'],
  'outcome.malformed reply': ['回复无法识别', 'The reply makes no sense'],
  'stage.verified': ['验签解密', 'Verified'],
  'stage.refused': ['拒绝', 'Refused'],
  'stage.accepted': ['写入日志', 'In the log'],
  'stage.joined': ['并入同一条消息', 'Joined the same message'],
  'stage.turn': ['处理', 'Turn'],
  'stage.bot': ['机器人', 'Bots'],
  'stage.push': ['推送', 'Pushed'],
  'stage.committed': ['提交状态', 'Committed'],
  'stage.offered': ['应答结果', 'Answer offered'],
  'stage.kept': ['留待下次', 'Kept for later'],
  'stage.dead': ['死信', 'Dead letter'],
  'stage.settled': ['了结', 'Settled'],
  'detail.answered': ['有回复', 'answered'],
  'detail.silent': ['不回复', 'silent'],
  'detail.dead': ['死信', 'dead letter'],
  'detail.dropped_flood': ['消息过多，丢弃', 'dropped, too many'],
  'detail.limited': ['超过频率限制', 'over its rate'],
  'bot.answered': ['{0} 已回答', '{0} answered'],
  'bot.silent': ['{0} 不回复', '{0} keeps silent'],
  'bot.passed': ['{0} 不处理', '{0} passed'],
  'bot.skipped': ['{0} 已跳过', '{0} skipped'],
  'bot.unavailable': ['{0} 暂不可用', '{0} unavailable'],
  'bot.timeout': ['{0} 超时', '{0} timed out'],
  'bot.panic': ['{0} 崩溃', '{0} panicked'],
  'bot.error': ['{0} 出错', '{0} failed'],
  'bot.handed_over': ['{0} 转人工', '{0} handed over'],
  'detail.written': ['已写回微信', 'written to WeChat'],
  'detail.refused': ['已来不及', 'too late'],
  'detail.unknown': ['不确定是否写回', 'unknown whether written'],
  'detail.recorded answer': ['沿用已有的回复', 'the recorded answer'],
  'detail.for the user\'s next message': ['等用户的下一条消息', 'for the user\'s next message'],
  'fact.sequence': ['日志 #{0}', 'log #{0}'],
  'fact.partition': ['分区 {0}', 'partition {0}'],
  'fact.version': ['版本 {0}', 'version {0}'],
  'fact.delivery': ['第 {0} 次投递', 'delivery {0}'],
  'kind.msgmenu': ['[选项]', '[Choices]'],
  'kind.mpnews': ['[图文]', '[Article]'],
  'kind.mpnewsarticle': ['[图文]', '[Article]'],
  'kind.wxcard': ['[卡券]', '[Card]'],
  'kind.miniprogrampage': ['[小程序]', '[Mini program]'],
  'kind.other': ['[{0}]', '[{0}]'],
  'shown.custom': ['客服消息', 'Customer-service message'],
  'shown.template': ['模板消息', 'Template message'],
  typing: ['对方正在输入…', 'Typing…'],
  'faults.title': ['接口故障', 'API faults'],
  'faults.down': ['接口中断', 'API down'],
  'faults.storm': ['凭证失效', '40001 storm'],
  'faults.latency': ['延迟 3 秒', '3 s late'],
  'faults.code': ['错误码 45009', 'Error 45009'],
  'faults.lost': ['丢失响应', 'Lost answers'],
  'faults.clear': ['停止 {0}', 'End {0}'],
  'faults.done': ['所有 access_token 已失效', 'All access tokens are worthless now'],
  'error.fault': ['故障：{0}', 'Fault: {0}'],
  'model.title': ['示例模型', 'Example model'],
  'knob.delay_ms': ['延迟', 'Delay'],
  'knob.per_token_ms': ['每字间隔', 'Per token'],
  'knob.failure_rate': ['失败率', 'Failures'],
  'knob.break_rate': ['断流率', 'Broken off'],
  'knob.hang': ['挂起', 'Hang'],
  'knob.down': ['宕机', 'Down'],
  'knob.reasoning': ['先推理', 'Reasoning'],
  'knob.hang.hint': ['收下请求，什么都不回', 'Takes requests and sends nothing'],
  'knob.down.hint': ['重置每个连接', 'Resets every connection'],
  'knob.reasoning.hint': ['回答之前先输出推理，用户看不到', 'Reasons before it answers; users do not see it'],
  'stats.requests': ['请求', 'Requests'],
  'stats.in_flight': ['进行中', 'Running'],
  'stats.answered': ['已回答', 'Answered'],
  'stats.failed': ['失败', 'Failed'],
  'stats.failed.hint': ['错误 {0} · 断开 {1} · 客户端先离开 {2}', 'Errors {0} · cut off {1} · client left {2}'],
  'upstreams.title': ['熔断器', 'Breakers'],
  'upstreams.none': ['引擎没有说', 'The engine tells nothing'],
  'upstreams.places': ['{0}/{1} 占用', '{0} of {1} busy'],
  'upstreams.failures': ['连续失败 {0}', '{0} failures'],
  'upstreams.retry': ['{0} 秒后试探', 'tries in {0} s'],
  'upstreams.soon': ['即将试探', 'tries soon'],
  'upstreams.since': ['自 {0}', 'since {0}'],
  'breaker.closed': ['正常', 'Closed'],
  'breaker.half_open': ['试探', 'Half-open'],
  'breaker.open': ['熔断', 'Open'],
  'transitions.label': ['最近的变化', 'Latest changes'],
  'error.model': ['示例模型：{0}', 'Example model: {0}'],
  'nodes.title': ['节点', 'Nodes'],
  'nodes.partitions': ['{0} 个分区', '{0} partitions'],
  'nodes.pid': ['进程 {0}', 'process {0}'],
  'node.running': ['运行中', 'Running'],
  'node.paused': ['已暂停', 'Paused'],
  'node.stopping': ['停止中…', 'Stopping…'],
  'node.stopped': ['已停止', 'Stopped'],
  'node.killed': ['已杀死', 'Killed'],
  'node.exited': ['自行退出', 'Ended by itself'],
  'node.do.stop': ['停止', 'Stop'],
  'node.do.pause': ['暂停', 'Pause'],
  'node.do.resume': ['恢复', 'Resume'],
  'node.do.kill': ['杀死', 'Kill'],
  'node.do.start': ['启动', 'Start'],
  'error.node': ['节点：{0}', 'Node: {0}'],
  'error.push': ['没有发出：{0}', 'Not sent: {0}'],
  'error.follow': ['请先关注', 'Follow the account first'],
  'error.picture': ['无法读取这张图片', 'This picture cannot be read'],
};

const remembered = 'hongyan.phone.language';
let language = recall() || (navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en');

function recall() {
  try { return localStorage.getItem(remembered); } catch { return null; }
}

/** The word for key in the language in use; {0}, {1} … are filled in. */
export function t(key, ...values) {
  const pair = words[key];
  if (!pair) return key;
  return pair[language === 'zh' ? 0 : 1].replace(/\{(\d)\}/g, (_, i) => values[i]);
}

export const has = (key) => key in words;
export const locale = () => (language === 'zh' ? 'zh-CN' : 'en');

export function toggleLanguage() {
  language = language === 'zh' ? 'en' : 'zh';
  try { localStorage.setItem(remembered, language); } catch { /* private mode: not remembered */ }
}

/** Puts words into everything that carries data-i18n attributes. */
export function translatePage() {
  document.documentElement.lang = locale();
  document.title = t('title');
  for (const node of document.querySelectorAll('[data-i18n]')) node.textContent = t(node.dataset.i18n);
  for (const node of document.querySelectorAll('[data-i18n-label]')) node.setAttribute('aria-label', t(node.dataset.i18nLabel));
  for (const node of document.querySelectorAll('[data-i18n-placeholder]')) node.placeholder = t(node.dataset.i18nPlaceholder);
}

const digits = '零一二三四五六七八九';

/** 用户一 … 用户九十九; User 1 … */
export function nickname(number) {
  if (language !== 'zh') return t('user', number);
  if (number > 99) return t('user', number);
  const tens = Math.floor(number / 10);
  const ones = number % 10;
  return t('user', (tens > 1 ? digits[tens] : '') + (tens > 0 ? '十' : '') + (ones > 0 ? digits[ones] : ''));
}

export function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

export const clock = (at) => new Date(at).toLocaleTimeString(locale(), { hour: '2-digit', minute: '2-digit' });
