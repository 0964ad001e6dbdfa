// Pictures to send: a landscape painted on the spot, or one of the user's own, made small.

const toBlob = (canvas, type, quality) => new Promise((done) => { canvas.toBlob(done, type, quality); });

/** A landscape at a random hour. */
export async function paintPicture() {
  const canvas = document.createElement('canvas');
  canvas.width = 480;
  canvas.height = 360;
  const c = canvas.getContext('2d');
  const hue = Math.floor(Math.random() * 360);
  const sky = c.createLinearGradient(0, 0, 0, 360);
  sky.addColorStop(0, `hsl(${hue} 60% 58%)`);
  sky.addColorStop(1, `hsl(${hue + 50} 75% 86%)`);
  c.fillStyle = sky;
  c.fillRect(0, 0, 480, 360);
  c.fillStyle = 'rgb(255 255 255 / 85%)';
  c.beginPath();
  c.arc(90 + Math.random() * 300, 80 + Math.random() * 60, 30, 0, 7);
  c.fill();
  for (let layer = 0; layer < 3; layer++) {
    c.fillStyle = `hsl(${hue + 20 * layer} ${34 - layer * 4}% ${52 - layer * 14}%)`;
    c.beginPath();
    c.moveTo(0, 360);
    const phase = Math.random() * 6;
    for (let x = 0; x <= 480; x += 8) {
      c.lineTo(x, 210 + layer * 46 + Math.sin(x / (70 + layer * 18) + phase) * (34 - layer * 8) + Math.sin(x / 23 + phase) * 5);
    }
    c.lineTo(480, 360);
    c.fill();
  }
  return toBlob(canvas, 'image/png');
}

/** At most 1280 pixels on the long side, as JPEG. */
export async function shrinkPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, 1280 / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return toBlob(canvas, 'image/jpeg', 0.86);
}
